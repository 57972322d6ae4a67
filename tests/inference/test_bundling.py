"""A bundle predicts as the folder that it was made of, bit for bit, whatever takes it."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.inference.bundle_config import BundleConfig
from ich_tf.inference.bundling import check_bundle, make_bundle, unpack_bundle
from ich_tf.inference.config import CalibrateConfig, PredictConfig
from ich_tf.inference.ensemble import Member, write_ensemble
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.prediction.predict import predict
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.models.feature_axes import AXES, Axes, save_axes
from ich_tf.models.saved import Spec, save_best
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.strategies import make_strategy
from tests.support.commands import Command
from tests.support.networks import KINDS, end_to_end

RESULTS = (".csv", "_series.csv", "_series.json", "_rejected.csv")


def make_run(folder: Path, spec: Spec) -> Path:
    """A run without training, with a calibration."""
    save_best(folder, spec.build(), spec, epoch=1, val_loss=0.5)
    return folder


def calibrate(folder: Path) -> Path:
    predictor = load_predictor(folder, make_strategy("one"))
    fitted = Postprocessing(
        model_sha256=predictor.sha256, smoothing_mm=4.0, fitted_on={"num_patients": 3}
    )
    fitted.save(folder)
    return folder


def series_run(tmp_path: Path) -> Path:
    """A model over features, and two networks elsewhere that it reads."""
    network = KINDS["tiny"]().spec
    runs = [make_run(tmp_path / "folds" / f"fold-{i}", network) for i in range(2)]
    work_dir = tmp_path / "series" / "w"
    work_dir.mkdir(parents=True)
    rng = np.random.default_rng(0)
    save_axes(work_dir / AXES, [Axes(rng.normal(size=32), rng.normal(size=(32, 5))) for _ in runs])
    spec = SeriesSpec(
        "bigru", 5, 8, 1, 0.1, True, (0.1,) * 6,
        networks=tuple(file_sha256(run / "best.weights.h5") for run in runs),
        network_dirs=tuple(f"../../folds/{run.name}" for run in runs),
        validation_folds=(0, 1),
        axes_sha256=file_sha256(work_dir / AXES),
    )  # fmt: skip
    return make_run(work_dir, spec)


def folds_run(tmp_path: Path) -> Path:
    spec = KINDS["tiny"]().spec
    for seed in range(2):
        make_run(tmp_path / "seeds" / f"seed-{seed}" / "fold-0", spec)
    return tmp_path / "seeds"


def ensemble_run(tmp_path: Path) -> Path:
    runs = [make_run(tmp_path / name, KINDS[kind]().spec) for name, kind in
            (("narrow", "tiny"), ("wide", "neighbours"))]  # fmt: skip
    members = [
        Member(run, share=share, sha256=file_sha256(run / "best.weights.h5"))
        for run, share in zip(runs, (0.3, 0.7), strict=True)
    ]
    write_ensemble(tmp_path / "both", members)
    return tmp_path / "both"


MODELS = {
    "slices": lambda folder: make_run(folder / "run", KINDS["tiny"]().spec),
    "segmenter": lambda folder: make_run(folder / "run", KINDS["segmentation"]().spec),
    "hu16": lambda folder: make_run(folder / "run", KINDS["hu16"]().spec),
    "end to end": lambda folder: make_run(folder / "run", KINDS["tiny with bigru"]().spec),
    "exams": lambda folder: make_run(folder / "run", end_to_end("attention").spec),
    "series": series_run,
    "folds and seeds": folds_run,
    "ensemble": ensemble_run,
}


def answers(predictor: Predictor) -> list[np.ndarray]:
    """What a predictor makes of a series of noise."""
    rng = np.random.default_rng(0)
    rows, columns, channels = predictor.record_shape
    images = rng.integers(0, 256, (5, rows, columns, channels * predictor.neighbours), np.uint8)
    if predictor.stored_hu:
        images = images.astype(np.uint16) << 8
    outputs = predictor.outputs(images)
    found = predictor.series_probabilities(outputs, 5.0 * np.arange(5))
    masks = MaskNetwork.of(predictor)
    parts = [outputs, found.slices, found.whole, masks and masks.probabilities(images)]
    return [np.asarray(part) for part in parts if part is not None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_a_bundle_of_each_kind_predicts_as_its_folder(kind: str, tmp_path: Path) -> None:
    work_dir = calibrate(MODELS[kind](tmp_path))
    bundle = tmp_path / "elsewhere" / "model.zip"
    make_bundle(BundleConfig(work_dir=str(work_dir), out_file=str(bundle)))
    one = make_strategy("one")
    expected = load_predictor(work_dir, one)
    shown = check_bundle(BundleConfig(work_dir=str(bundle), check=True))
    assert expected.sha256 in shown and expected.describe() in shown
    # What it was made of is gone.
    for path in tmp_path.iterdir():
        if path.name != "elsewhere":
            shutil.rmtree(path)
    loaded = load_predictor(bundle, one)
    assert (loaded.sha256, loaded.postprocessing) == (expected.sha256, expected.postprocessing)
    assert loaded.shares.tolist() == expected.shares.tolist()
    pairs = list(zip(answers(loaded), answers(expected), strict=True))
    assert pairs and all(left.tobytes() == right.tobytes() for left, right in pairs)
    # Unpacked it is a work dir, of which the same bundle is made again.
    folder = tmp_path / "unpacked"
    unpack_bundle(BundleConfig(work_dir=str(bundle), unpack_dir=str(folder)))
    again = tmp_path / "again.zip"
    make_bundle(BundleConfig(work_dir=str(folder), out_file=str(again)))
    assert again.read_bytes() == bundle.read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = ModelSpec("tiny", (64, 64, 3), 32, ("brain", "subdural", "soft"))
    return calibrate(make_run(tmp_path_factory.mktemp("bundling") / "run", spec))


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    path = run.parent / "model.zip"
    make_bundle(BundleConfig(work_dir=str(run), out_file=str(path)))
    return path


def test_a_bundle_predicts_files_to_the_byte(
    run: Path, bundle: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    pinned = f"{bundle}#sha256={file_sha256(bundle)}"
    for name, work_dir in (("folder", run), ("bundle", pinned)):
        config = PredictConfig(
            dicom_dir=str(phantom_dir / "stage_2_test"),
            work_dir=str(work_dir),
            out_csv=str(tmp_path / name / "new.csv"),
            num_workers=1,
        )
        predict(config)
    for end in RESULTS:
        left, right = (tmp_path / name / f"new{end}" for name in ("folder", "bundle"))
        assert left.read_bytes() == right.read_bytes(), end
    assert config.submission_path.parent.name == "bundle"
    assert dataclasses.replace(config, out_csv="").submission_path == (
        bundle.parent / "model_results" / "submission.csv"
    )


@pytest.mark.slow
def test_an_existing_bundle_is_kept(run: Path, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    config = BundleConfig(work_dir=str(run), out_file=str(path))
    path.write_bytes(bundle.read_bytes())
    assert make_bundle(config).endswith("was there already.")
    path.write_bytes(b"another")
    with pytest.raises(InputError, match="Give --overwrite"):
        make_bundle(config)
    assert path.read_bytes() == b"another"
    make_bundle(dataclasses.replace(config, overwrite=True))
    assert path.read_bytes() == bundle.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["model.zip"]


def test_a_damaged_folder_is_not_bundled(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    config = BundleConfig(work_dir=str(folder))
    assert config.bundle_path == tmp_path / "run.zip"
    weights = folder / "best.weights.h5"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + b"\0\0")
    with pytest.raises(InputError, match="SHA-256 is not the one"):
        make_bundle(config)
    weights.write_bytes(sound)
    content = json.loads((folder / "calibration.json").read_text())
    (folder / "calibration.json").write_text(json.dumps({**content, "model_sha256": "other"}))
    with pytest.raises(InputError, match="fitted to other weights"):
        make_bundle(config)
    with pytest.raises(InputError, match="no such work dir"):
        make_bundle(BundleConfig(work_dir=str(tmp_path / "none")))
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_what_writes_into_a_run_refuses_a_bundle(bundle: Path, tmp_path: Path) -> None:
    from ich_tf.inference.calibration import calibrate as fit
    from ich_tf.inference.few_labels import calibrate_few

    for fitting, few in ((fit, False), (calibrate_few, True)):
        with pytest.raises(InputError, match=f"{bundle}: is a bundle, into which no calibration"):
            fitting(CalibrateConfig(work_dir=str(bundle), few=few))
    with pytest.raises(InputError, match="is there already"):
        unpack_bundle(BundleConfig(work_dir=str(bundle), unpack_dir=str(bundle.parent)))
    with pytest.raises(InputError, match="is no bundle"):
        check_bundle(BundleConfig(work_dir=str(tmp_path), check=True))


@pytest.mark.slow
def test_commands_take_a_bundle(
    run_command: Command, work_dir: Path, data_dir: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.zip"
    made = run_command("ich_tf.bundle", f"--work_dir={work_dir}", f"--out_file={path}")
    sha256 = file_sha256(path)
    assert sha256 in made.stdout
    pinned = f"--work_dir={path}#sha256={sha256}"
    shown = run_command("ich_tf.bundle", pinned, "--check").stdout
    assert sha256 in shown and "no hashes: left out" in shown
    for name, flag in (("folder", f"--work_dir={work_dir}"), ("bundle", pinned)):
        run_command(
            "ich_tf.predict",
            flag,
            f"--dicom_dir={phantom_dir}/stage_2_test",
            f"--out_csv={tmp_path}/{name}/new.csv",
        )
    for end in RESULTS:
        left, right = (tmp_path / name / f"new{end}" for name in ("folder", "bundle"))
        assert left.read_bytes() == right.read_bytes(), end
    data = f"--data_dir={data_dir}"
    run_command("ich_tf.evaluate", pinned, data, "--bootstrap=0")
    results = tmp_path / "model_results" / "evaluation" / "test"
    assert "no network was trained on them" in (results / "model_card.md").read_text()
    card = (results / "model_card.md").read_text()
    assert "### model.zip\n\n- data: " in card and "validated on fold 0" in card
    run_command("ich_tf.export", pinned)
    assert (tmp_path / "model_results" / "export" / "manifest.json").is_file()
    trained = run_command(
        "ich_tf.train",
        "--flagfile=configs/smoke.flags",
        data,
        f"--weights={path}",
        f"--work_dir={tmp_path}/trained",
        "--epochs=1",
        "--max_steps_per_epoch=2",
    )
    assert "bundle of ich_tf" in trained.stderr
    ancestor = json.loads((tmp_path / "trained" / "run.json").read_text())["ancestors"][0]
    assert ancestor["weights_sha256"] == file_sha256(work_dir / "best.weights.h5")
    other = (f"--work_dir={path}#sha256={'0' * 64}", f"--out_dir={tmp_path}/export")
    wrong = run_command("ich_tf.export", *other, code=1)
    assert "is asked for" in wrong.stderr
    refused = run_command("ich_tf.calibrate", data, f"--work_dir={path}", code=1)
    assert "--unpack_dir" in refused.stderr


@pytest.mark.slow
def test_evaluation_says_that_a_bundle_does_not_know_patients(
    run_command: Command, work_dir: Path, data_dir: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    """On another conversion of the same patients the hashes tell, where the bundle has them."""
    other = tmp_path / "other"
    run_command(
        "ich_tf.make_tfrecords",
        f"--dicom_dir={phantom_dir}/stage_2_train",
        f"--labels_csv={phantom_dir}/stage_2_train.csv",
        f"--out_dir={other}",
        "--image_size=64",
        "--seed=9",
    )
    for name, flags in (("without", ()), ("with", ("--patient_hashes",))):
        path = tmp_path / f"{name}.zip"
        run_command("ich_tf.bundle", f"--work_dir={work_dir}", f"--out_file={path}", *flags)
        given = (f"--work_dir={path}", f"--data_dir={other}", "--bootstrap=0", "--noreport")
        code = 0 if name == "without" else 1
        done = run_command("ich_tf.evaluate", *given, code=code)
        expected = "does not hold the hashes" if name == "without" else f"those that {path} was"
        assert expected in " ".join(done.stderr.split())


@pytest.mark.slow
def test_the_page_takes_a_bundle(
    run: Path, bundle: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    from tests.support.serving import files_of, running, served

    files = files_of(phantom_dir / "stage_2_test", 6)
    results = []
    for name, work_dir in (("folder", run), ("bundle", bundle)):
        with running(work_dir, tmp_path / name) as client:
            study = served(client, files)
            results.append((client.get("/api/model").json(), study["model"], study["series"]))
    assert results[0] == results[1]
    assert results[1][1]["sha256"] == load_predictor(run, make_strategy("one")).sha256
    assert results[1][2][0]["slices"]


@pytest.mark.slow
def test_the_gateway_takes_a_bundle(
    run: Path, bundle: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    from ich_tf.gateway.config_file import load_config
    from ich_tf.gateway.model import StudyPredictor

    config = tmp_path / "gateway.toml"
    found = []
    for name, work_dir in (("folder", run), ("bundle", f"{bundle}#sha256={file_sha256(bundle)}")):
        config.write_text(
            f'[model]\nwork_dir = "{work_dir}"\nseries = "all"\n[stow]\nenabled = true\n'
        )
        predictor = StudyPredictor(load_config(config).model)
        folders = [tmp_path / name / each for each in ("work", "results")]
        for folder in folders:
            folder.mkdir(parents=True)
        found.append(predictor(phantom_dir / "stage_2_test", *folders))
    assert found[0].findings == found[1].findings
