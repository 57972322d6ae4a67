"""Scores say what the model has seen of the patients."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.errors import InputError
from ich_tf.evaluation.leakage import seen_before
from ich_tf.inference.ensemble import find_members
from ich_tf.inference.held_out import check_held_out
from ich_tf.models import run_files
from ich_tf.models.origins import (
    Origin,
    dump_origins,
    dump_run,
    load_origins,
    origin_of_run,
    patient_ids,
    read_origin,
)
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import file_sha256
from ich_tf.training.config import TrainConfig
from ich_tf.training.leakage import check_ancestors, origin_of
from ich_tf.training.trainer import make_task, train
from tests.support.conversions import config_for
from tests.support.evaluations import evaluation
from tests.support.runs import smoke_config


@pytest.fixture(scope="module")
def dealt_anew(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patients in other folds."""
    folder = tmp_path_factory.mktemp("anew") / "data"
    convert(config_for(phantom_dir, folder, image_size=64, seed=1))
    return folder


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ("test", "no network was trained on them"),
        ("fold-0", "no network was trained on them, but epoch and calibration were chosen on them"),
        ("fold-1", "networks were trained on them"),
    ],
)
def test_a_split_of_the_run_s_own_data(
    split: str, text: str, data_dir: Path, work_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = seen_before(work_dir, Manifest.load(data_dir), split)
    assert seen.startswith(text)
    assert bool(caplog.records) == (split == "fold-1")


def test_training_patients_are_not_held_out_elsewhere(
    dealt_anew: Path, work_copy: Path, data_dir: Path
) -> None:
    other = Manifest.load(dealt_anew)
    trained_on = Manifest.load(data_dir)
    common = set(other.patients["test"]) - set(trained_on.patients["test"])
    assert common, "the seed dealt alike"
    with pytest.raises(
        InputError, match=f"{len(common)} of {len(other.patients['test'])} patients of test"
    ):
        evaluation(dealt_anew, work_copy)
    # The run itself notes its patients: its data may be gone.
    path = work_copy / run_files.CONFIG
    moved = dataclasses.replace(TrainConfig.from_json(path.read_text()), data_dir="gone")
    path.write_text(moved.to_json())
    with pytest.raises(InputError, match="trained or chosen on, in gone"):
        evaluation(dealt_anew, work_copy)
    # A run of an earlier version did not: then that is said.
    run = json.loads((work_copy / run_files.RUN).read_text())
    earlier = {name: run[name] for name in ("data", "sessions")}
    (work_copy / run_files.RUN).write_text(json.dumps(earlier))
    scored = evaluation(dealt_anew, work_copy)
    assert scored.model["seen"].endswith("trained on some of them is not known")


def test_other_patients_do_not_replace_the_run_s_own_scores(
    dealt_anew: Path, work_copy: Path, tmp_path: Path
) -> None:
    """A conversion of patients with other ids."""
    folder = Path(shutil.copytree(dealt_anew, tmp_path / "others"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["patients"] = {
        split: [f"x{patient}" for patient in patients]
        for split, patients in manifest["patients"].items()
    }
    manifest["shards"] = [shard for shard in manifest["shards"] if "test" in shard["name"]]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = sorted((work_copy / "evaluation").glob("*"))
    scored = evaluation(folder, work_copy)
    assert scored.model["seen"].startswith(
        "of other data than the model was trained on, which hold"
    )
    (new,) = set((work_copy / "evaluation").glob("*")) - set(before)
    assert new.name.startswith("test-")
    assert json.loads((new / "metrics.json").read_text())["loss"] == pytest.approx(scored.loss)


def starting_from(work_copy: Path, *ancestors: Origin) -> None:
    """Has run.json say that the run started from something else."""
    path = work_copy / run_files.RUN
    run = json.loads(path.read_text())
    origin = dataclasses.replace(read_origin(work_copy), ancestors=ancestors)
    path.write_text(json.dumps({**run, **dump_run(origin)}))


def test_keys_of_another_secret_say_nothing(
    data_dir: Path, work_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = Manifest.load(data_dir)
    others = dataclasses.replace(manifest, patients={"test": ["a"]}, shards=())
    assert seen_before(work_copy, others, "test").endswith("holds none of them, by stored ids")
    assert not caplog.records
    hashed = dataclasses.replace(others, patient_keys="5a1f")
    assert "is not known, since ids are hashed with another secret" in seen_before(
        work_copy, hashed, "test"
    )
    assert caplog.records
    # The weights that the run started from.
    starting_from(work_copy, origin_of_run("o", 0, {"fold-0": ["a"]}, [], patient_keys="5a1f"))
    assert "unknown origin" in seen_before(work_copy, manifest, "test")


def test_what_ancestors_were_trained_on_counts_as_seen(
    data_dir: Path, work_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = Manifest.load(data_dir)
    tested, validated = manifest.patients["test"][0], manifest.patients["fold-0"][0]
    before = origin_of_run("other", 1, {"fold-0": [tested, validated], "fold-1": ["a"]}, [])
    # An ancestor of an ancestor.
    between = origin_of_run("third", 0, {"fold-0": ["a"], "fold-1": ["b"]}, [before])
    starting_from(work_copy, between)
    text = seen_before(work_copy, manifest, "test")
    number = len(manifest.patients["test"])
    assert text.startswith(f"weights that the model started from were trained on 1 of the {number}")
    assert "do not hold for new patients" in caplog.text
    with pytest.raises(InputError, match="whom it was validated on"):
        check_held_out(find_members(work_copy)[0], manifest)
    # In data of which the run itself holds none.
    elsewhere = dataclasses.replace(manifest, patients={"test": [tested]}, shards=())
    with pytest.raises(InputError, match=rf"1 of 1 patients .*from which {work_copy} started"):
        seen_before(work_copy, elsewhere, "test")


def test_weights_of_unknown_origin_are_said_to_be(
    data_dir: Path, work_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starting_from(work_copy, Origin("unknown", "abc"))
    scored = evaluation(data_dir, work_copy)
    assert scored.model["seen"].endswith("may have been trained on them")
    assert "weights abc of unknown origin" in scored.model["started_from"]
    caplog.clear()
    check_held_out(find_members(work_copy)[0], Manifest.load(data_dir))
    assert "of unknown origin" in caplog.text


def test_training_refuses_weights_that_saw_its_validation_patients(
    data_dir: Path, work_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = work_dir / run_files.BEST_WEIGHTS
    config = smoke_config(data_dir, tmp_path / "run", weights=str(weights), validation_fold="1")
    with pytest.raises(InputError, match=r"--weights=.*patients of fold-1, on whom this run would"):
        train(config)
    assert not (tmp_path / "run").exists()
    for name in (run_files.BEST_WEIGHTS, "epochs/epoch-001.weights.h5"):
        weights = work_dir / name
        config = dataclasses.replace(config, weights=str(weights), validation_fold="0")
        task = make_task(config)
        check_ancestors(config, task, origin_of(config, task))
        (ancestor,) = origin_of(config, task).ancestors
        assert ancestor.weights_sha256 == file_sha256(weights)
        assert dataclasses.replace(ancestor, weights_sha256="") == read_origin(work_dir)
    assert "starts from" not in caplog.text
    # Away from its run, a file's origin is unknown.
    moved = str(shutil.copy(weights, tmp_path / "moved.h5"))
    config = dataclasses.replace(config, weights=moved)
    origin = origin_of(config, task)
    assert [ancestor.kind for ancestor in origin.ancestors] == ["unknown"]
    check_ancestors(config, task, origin)
    assert "no score of this run is known to be of new patients" in caplog.text


def test_features_of_a_fold_count_by_the_network_that_held_it_out() -> None:
    patients = {f"fold-{fold}": [f"P{fold}"] for fold in range(3)}
    tainted = origin_of_run("other", 0, {"fold-0": ["x"], "fold-1": ["P1"]}, [])
    networks = [
        dataclasses.replace(
            origin_of_run("data", fold, patients, [tainted] if fold == 1 else []),
            gave_features=True,
        )
        for fold in range(3)
    ]
    origin = origin_of_run("data", 0, patients, networks)
    (loaded,) = load_origins(*dump_origins([origin]))
    assert loaded == origin
    for fold, trained in ((0, set()), (1, patient_ids(["P1"]))):
        split = f"fold-{fold}"
        exposure = loaded.inherited_exposure(patient_ids(patients[split]), split)
        assert exposure.trained == trained and exposure.is_known
    # In other data all networks read the patient.
    assert loaded.inherited_exposure(patient_ids(["P0"]), "test").trained
