"""Files of a run that commands read again: any change is a run or one error that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.comparison.sources import load_model
from ich_tf.evaluation.model_card import describe_run
from ich_tf.inference.bundle_contents import reduced_run
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.labels import CLASSES
from ich_tf.models.origins import Origin, dump_run, origin_of_run, read_origin
from ich_tf.models.run_files import CONFIG, ENSEMBLE, RUN
from ich_tf.models.run_json import read_run
from ich_tf.training.config import TrainConfig
from tests.support.strategies import mutated_json, refused_in_a_paragraph

EARLIER = origin_of_run("d" * 64, 1, {"fold-0": ["a", "b"], "fold-1": ["c"]}, (Origin("random"),))
SESSION = {
    "started": "2026-01-01T00:00:00Z", "python": "3.11.7", "versions": {"numpy": "1.26.4"},
    "git_commit": None, "cpu": "x", "cpus": 2, "gpus": [], "precision": "bfloat16",
}  # fmt: skip
OWN = origin_of_run("e" * 64, 0, {"fold-0": ["a"], "fold-1": ["c"]}, (EARLIER,), "PatientID")
RUNS = {
    "id": "0" * 32, "data": {"sha256": "e" * 64, "records": 9}, **dump_run(OWN),
    "sessions": [SESSION],
}  # fmt: skip
SCORES = {
    "levels": {
        level: {"classes": {name: {"points": {"youden": {"threshold": 0.5}}} for name in CLASSES}}
        for level in ("slice", "series_max")
    },
    "model": {"postprocessing": "none", "seen": "no patient"},
}
MEMBERS = {
    "version": 1,
    "members": [
        {"work_dir": "a", "weights": "best.weights.h5", "share": 0.5, "sha256": "0" * 64},
        {"work_dir": "b", "weights": "epochs/epoch-001.weights.h5", "share": 0.5, "sha256": ""},
    ],
}
PREDICTIONS = f"ID,patient,{','.join(CLASSES)}\ni,p{',0.5' * 6}\n"


def use_run(folder: Path) -> None:
    origin = read_origin(folder)
    dump_run(origin)
    origin.started_from()
    origin.exposure(["a"])
    assert all(type(each) is str for ids in origin.folds.values() for each in ids)
    json.dumps(reduced_run(read_run(folder), patient_hashes=False))
    assert type(Member(folder).data_sha256()) is str
    for session in describe_run(folder)["sessions"]:
        assert all(type(text) is str for text in (session.started, session.cpu, *session.gpus))


def use_config(folder: Path) -> None:
    describe_run(folder)
    assert type(Member(folder).validation_fold()) is int


def use_members(folder: Path) -> None:
    for member in find_members(folder):
        assert member.share > 0


def use_scores(folder: Path) -> None:
    (folder / "predictions.csv").write_text(PREDICTIONS)
    model = load_model("a", folder, level="slice", split="test", operating_point="youden")
    assert all(0 <= value <= 1 for value in model.thresholds.values())


FILES: dict[str, tuple[Any, Callable[[Path], None]]] = {
    RUN: (RUNS, use_run),
    CONFIG: (json.loads(TrainConfig().to_json()), use_config),
    ENSEMBLE: (MEMBERS, use_members),
    "metrics.json": (SCORES, use_scores),
}


@pytest.mark.parametrize("name", FILES)
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    content, use = FILES[name]
    (tmp_path / CONFIG).write_text(TrainConfig().to_json())
    (tmp_path / name).write_text(json.dumps(content))
    use(tmp_path)
    if name == RUN:
        assert read_origin(tmp_path) == OWN


@pytest.mark.parametrize("name", FILES)
@given(st.data())
@example(None)
def test_any_change_is_read_or_refused(folder: Path, name: str, data: st.DataObject | None) -> None:
    content, use = FILES[name]
    text = data.draw(mutated_json(content)) if data else "[" * 50_000
    place = folder / name.replace(".", "_")
    place.mkdir(exist_ok=True)
    (place / name).write_text(text, "utf-8", "surrogatepass")
    with refused_in_a_paragraph(place / name):
        use(place)
