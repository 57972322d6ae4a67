"""Scores say what the model has seen of the patients."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.errors import InputError
from ich_tf.evaluation.leakage import seen_before
from ich_tf.models import run_files
from ich_tf.records.manifest import Manifest
from ich_tf.training.config import TrainConfig
from tests.support.conversions import config_for
from tests.support.evaluations import evaluation


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
    # Where its data is gone, nothing can be compared: then that is said.
    path = work_copy / run_files.CONFIG
    moved = dataclasses.replace(TrainConfig.from_json(path.read_text()), data_dir="gone")
    path.write_text(moved.to_json())
    scored = evaluation(dealt_anew, work_copy)
    assert scored.model["seen"].endswith("is not known")


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
