"""Calibration of runs, of folds, of several epochs and of ensembles."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.ensemble import find_members
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.mixture import mix
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid, weighted_log_loss
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.strategies import make_strategy
from tests.support.commands import Command
from tests.support.evaluations import evaluation


def config(data_dir: Path, work_dir: Path, **changes) -> CalibrateConfig:
    return CalibrateConfig(data_dir=str(data_dir), work_dir=str(work_dir), **changes)


def test_a_run_is_fitted_on_the_fold_it_did_not_train_on(data_dir: Path, work_copy: Path) -> None:
    calibration = calibrate(config(data_dir, work_copy))
    fitted = calibration.postprocessing.fitted_on
    manifest = Manifest.load(data_dir)
    assert fitted["splits"] == ["fold-0"]
    assert fitted["num_patients"] == len(manifest.patients["fold-0"])
    assert min(fitted["losses"], key=fitted["losses"].get) == calibration.postprocessing.method
    # evaluate applies it: to the very fold it was fitted on, with the loss that was noted.
    again = evaluation(data_dir, work_copy, "fold-0")
    assert again.loss == pytest.approx(fitted["loss_after"], abs=1e-6)
    raw = evaluation(data_dir, work_copy, "fold-0", calibrated=False)
    assert raw.loss == pytest.approx(fitted["loss_before"], abs=1e-6)
    assert again.model["sha256"] == raw.model["sha256"]
    assert (
        again.levels["slice"].classes["any"].points.keys()
        and not raw.levels["slice"].classes["any"].points
    )


def test_choices_can_be_given(data_dir: Path, work_copy: Path) -> None:
    calibration = calibrate(
        config(data_dir, work_copy, method="isotonic", smoothing_mm=3.0, flip=True)
    )
    postprocessing = calibration.postprocessing
    assert (postprocessing.method, postprocessing.smoothing_mm, postprocessing.flip) == (
        "isotonic",
        3.0,
        True,
    )
    predictor = load_predictor(work_copy, make_strategy("one"))
    assert predictor.postprocessing == postprocessing
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    plain = load_predictor(work_copy, make_strategy("one"), calibrated=False)
    mean = (plain.logits(images) + plain.logits(images[:, :, ::-1])) / 2
    np.testing.assert_allclose(predictor.logits(images), mean, atol=1e-6)


@pytest.mark.slow
def test_epochs_are_averaged_with_fitted_shares(data_dir: Path, work_copy: Path) -> None:
    calibration = calibrate(
        config(data_dir, work_copy, average_epochs=2, method="none", smoothing_mm=0.0)
    )
    members = find_members(work_copy)
    assert {member.weights for member in members} <= {
        "epochs/epoch-001.weights.h5",
        "epochs/epoch-002.weights.h5",
    }
    assert sum(member.share for member in members) == pytest.approx(1)
    shares = {member.weights: member.share for member in calibration.members}
    assert shares == pytest.approx({member.weights: member.share for member in members})
    # Without, the folder stands for its best epoch again.
    calibrate(config(data_dir, work_copy))
    assert [member.weights for member in find_members(work_copy)] == ["best.weights.h5"]
    with pytest.raises(InputError, match="weights of 2 epochs; --average_epochs is 3"):
        calibrate(config(data_dir, work_copy, average_epochs=3))


def test_an_ensemble_is_the_mean_of_its_members(
    data_dir: Path, work_dir: Path, work_copy: Path, tmp_path: Path
) -> None:
    # Another model: the first epoch's weights, as if they were a run's best.
    other = Path(shutil.copytree(work_dir, tmp_path / "other"))
    shutil.copy(other / "epochs/epoch-001.weights.h5", other / "best.weights.h5")
    content = json.loads((other / "model.json").read_text())
    from ich_tf.runtime.files import file_sha256

    content["sha256"] = file_sha256(other / "best.weights.h5")
    (other / "model.json").write_text(json.dumps(content))
    together = tmp_path / "together"
    calibration = calibrate(
        config(
            data_dir,
            together,
            members=(str(work_copy), str(other)),
            method="none",
            smoothing_mm=0.0,
        )
    )
    strategy = make_strategy("one")
    images = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    ensemble = load_predictor(together, strategy)
    each = [
        sigmoid(load_predictor(member.work_dir, strategy, calibrated=False).logits(images))
        for member in calibration.members
    ]
    shares = np.array([member.share for member in calibration.members])
    np.testing.assert_allclose(
        sigmoid(ensemble.logits(images)), mix(np.stack(each), shares), atol=1e-6
    )
    agreement = evaluation(data_dir, together).agreement
    assert agreement is not None and agreement.num_members == len(calibration.members) > 1
    # Moved as a whole, with its members, it still finds them.
    moved = tmp_path / "moved"
    moved.mkdir()
    for folder in (together, work_copy, other):
        shutil.copytree(folder, moved / folder.name)
    assert load_predictor(moved / "together", strategy).sha256 == ensemble.sha256
    # A member that was trained on since.
    weights = moved / find_members(moved / "together")[0].work_dir / "best.weights.h5"
    weights.write_bytes((work_dir / "epochs/epoch-001.weights.h5").read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        load_predictor(moved / "together", strategy)


@pytest.mark.slow
def test_folds_are_joined(
    run_command: Command, data_dir: Path, folds_dir: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folds_dir, tmp_path / "folds"))
    done = run_command("ich_tf.calibrate", f"--data_dir={data_dir}", f"--work_dir={folder}")
    assert "fold-0, fold-1, fold-2" in done.stdout
    postprocessing = json.loads((folder / "calibration.json").read_text())
    table = pd.read_csv(folder / "oof_predictions.csv")
    assert postprocessing["fitted_on"]["num_slices"] == len(table)
    labels = table[[f"label_{name}" for name in CLASSES]].to_numpy()
    assert postprocessing["fitted_on"]["loss_before"] == pytest.approx(
        weighted_log_loss(labels, table[list(CLASSES)].to_numpy()), abs=1e-6
    )
    members = find_members(folder)
    assert [member.work_dir.name for member in members] == ["fold-0", "fold-1", "fold-2"]
    predictor = load_predictor(folder, make_strategy("one"))
    np.testing.assert_allclose(predictor.shares, [1 / 3] * 3)
    assert predictor.postprocessing.groups[0].members == (predictor.members[0].sha256,)
    assert "for each of 3 folds, then averaged" in predictor.postprocessing.describe()
    assert predictor.group_of_members() == [0, 1, 2]
    predicted = predictor.predict_split(Manifest.load(data_dir), "test", 16)
    assert predicted.members is not None and len(predicted.members) == 3
    # One of the folds beside a run of fold 0: the shares are fitted on patients new to both.
    run = shutil.copytree(folder / "fold-0", tmp_path / "run")
    mixed = calibrate(config(data_dir, tmp_path / "e", members=(str(folder), str(run))))
    assert mixed.postprocessing.fitted_on["splits"] == ["fold-0", "fold-1", "fold-2"]
    (tmp_path / "link").symlink_to(folder / "fold-0")
    with pytest.raises(InputError, match="folds/fold-0/best.weights.h5' twice"):
        calibrate(
            config(
                data_dir, tmp_path / "f", members=(str(folder / "fold-0"), str(tmp_path / "link"))
            )
        )
    with pytest.raises(InputError, match="fold-0/best.weights.h5' twice"):
        calibrate(config(data_dir, tmp_path / "f", members=(str(folder), str(folder / "fold-0"))))
    assert not (tmp_path / "f").exists()
    with pytest.raises(InputError, match="validated on different folds"):
        calibrate(
            config(
                data_dir,
                tmp_path / "e",
                members=(str(folder / "fold-0"), str(folder / "fold-1")),
            )
        )


def test_other_data_and_other_weights_are_refused(data_dir: Path, work_copy: Path) -> None:
    calibrate(config(data_dir, work_copy))
    run = json.loads((work_copy / "run.json").read_text())
    changed = {**run, "data": {**run["data"], "sha256": "0" * 64}}
    (work_copy / "run.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="trained on other data"):
        calibrate(config(data_dir, work_copy))
    path = work_copy / "calibration.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "model_sha256": "0" * 64}))
    with pytest.raises(InputError, match="fitted to other weights"):
        load_predictor(work_copy, make_strategy("one"))


def test_a_run_is_no_folder_of_an_ensemble(data_dir: Path, work_copy: Path, work_dir: Path) -> None:
    members = (str(work_dir), str(work_copy))
    with pytest.raises(InputError, match="holds a run, and cannot hold an ensemble as well"):
        calibrate(config(data_dir, work_copy, members=members))
    with pytest.raises(ConfigError, match="members is"):
        config(data_dir, work_copy, members=("a", "", "b"))


def test_an_ensemble_is_no_member(data_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "ensemble.json").write_text("{}")
    members = (str(work_dir), str(tmp_path / "both"))
    with pytest.raises(InputError, match="is an ensemble itself. Name the runs"):
        calibrate(CalibrateConfig(str(data_dir), str(tmp_path / "new"), members=members))


def test_members_that_read_other_records_do_not_mix(work_dir: Path) -> None:
    from ich_tf.inference.slice_predictor import Predictor

    (member,) = load_predictor(work_dir, make_strategy("one")).members
    other = dataclasses.replace(member, spec=dataclasses.replace(member.spec, crop="head"))
    with pytest.raises(InputError, match="read different records"):
        Predictor([member, other])


def test_a_wider_member_sees_more_neighbours(data_dir: Path, work_dir: Path) -> None:
    from ich_tf.inference.slice_predictor import LoadedMember, Predictor

    (member,) = load_predictor(work_dir, make_strategy("one")).members
    seen = []

    def wide(images):
        seen.append(images.shape)
        return np.zeros((len(images), 6), np.float32)

    wide_spec = dataclasses.replace(member.spec, neighbours=3)
    predictor = Predictor([member, LoadedMember(member.model, wide_spec, 1.0, "x", wide)])
    assert predictor.neighbours == 3
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 9), np.uint8)
    probabilities = sigmoid(predictor.logits(images))
    np.testing.assert_allclose(
        probabilities, (sigmoid(member.logits_fn(images[..., 3:6])) + 0.5) / 2, atol=1e-6
    )
    assert seen == [(2, 64, 64, 9)]


def test_the_file_names_its_prevalence(data_dir: Path, work_copy: Path) -> None:
    calibration = calibrate(config(data_dir, work_copy))
    predictor = load_predictor(work_copy, make_strategy("one"))
    postprocessing = load_postprocessing(work_copy, predictor.sha256)
    predictions = predictor.predict_split(Manifest.load(data_dir), "fold-0", 16)
    assert postprocessing is not None and postprocessing == calibration.postprocessing
    assert postprocessing.prevalence == pytest.approx(predictions.labels[:, ANY].mean())
