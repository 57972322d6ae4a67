"""A patient keeps the split that he was dealt: away for a run, or with a damaged plan."""

import json
import logging
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from tests.support.conversions import config_for, files_of
from tests.support.dicom_files import make_dicom

MANY = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A conversion that grew from half of its patients, of one slice each."""
    rows = [f"p{i}_{name},{int(i % 2 and name in ('any', 'subdural'))}"
            for i in range(MANY) for name in CLASSES]  # fmt: skip
    (tmp_path / "labels.csv").write_text("ID,Label\n" + "\n".join(rows) + "\n")
    (tmp_path / "in").mkdir()
    for first in (0, MANY // 2):
        for i in range(first, first + MANY // 2):
            tags = {"PatientID": f"P{i}", "StudyInstanceUID": f"1.{i}"}
            tags |= {"SeriesInstanceUID": f"1.{i}.1", "SOPInstanceUID": f"1.{i}.1.1"}
            (tmp_path / "in" / f"p{i}.dcm").write_bytes(make_dicom(tags=tags))
        run(tmp_path)
    return tmp_path


def run(folder: Path, **changes: object) -> None:
    where = {"dicom_dir": str(folder / "in"), "labels_csv": str(folder / "labels.csv")}
    config = {"num_folds": 2, "max_bad_fraction": 1.0, "image_size": 16}
    convert(config_for(folder, folder / "out", **{**where, **config, **changes}))


def splits_of(folder: Path) -> dict[str, str]:
    plan, _ = load_plan(folder / "out")
    return {patient: split for split, keys in plan.patients.items() for patient in keys}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_patients_who_were_away_come_back_to_their_splits(folder: Path) -> None:
    before = splits_of(folder)
    away = [f"p{i}.dcm" for i in range(0, MANY, 3)]
    for name in away:
        (folder / "in" / name).rename(folder / name)
    run(folder)
    assert len(splits_of(folder)) == MANY - len(away)
    assert verify(folder / "out", full=True) == []
    for name in away:
        (folder / name).rename(folder / "in" / name)
    run(folder)
    assert splits_of(folder) == before


@pytest.mark.parametrize("names", [["plan.json"], ["splits.json"], ["plan.json", "splits.json"]])
def test_damage_moves_nobody(
    folder: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of plan, splits and manifest any one that is sound is enough."""
    before = splits_of(folder)
    for name in names:
        damage(folder / "out" / name)
    with caplog.at_level(logging.INFO):
        run(folder)
    assert splits_of(folder) == before
    assert all(name in caplog.text for name in names)
    assert verify(folder / "out", full=True) == []


def test_where_nothing_sound_is_left_the_run_is_refused(folder: Path) -> None:
    for name in ("plan.json", "splits.json", "manifest.json"):
        damage(folder / "out" / name)
    before = files_of(folder / "out")
    with pytest.raises(InputError, match=r"plan\.json and splits\.json are both damaged"):
        run(folder)
    assert files_of(folder / "out") == before
    run(folder, overwrite=True)
    assert verify(folder / "out", full=True) == []


def test_a_folder_of_a_former_version_gets_its_splits_from_its_plan(folder: Path) -> None:
    before = files_of(folder / "out")
    (folder / "out" / "splits.json").unlink()
    assert [problem.file for problem in verify(folder / "out")] != []
    run(folder)
    assert files_of(folder / "out") == before


def test_damaged_splits_are_found_and_repaired(folder: Path) -> None:
    before = files_of(folder / "out")
    path = folder / "out" / "splits.json"
    content = json.loads(path.read_text())
    patient = next(iter(content["splits"]))
    content["splits"][patient] = "test" if content["splits"][patient] != "test" else "fold-0"
    path.write_text(json.dumps(content))
    assert "splits.json" in {problem.file for problem in verify(folder / "out")}
    repair(folder / "out", (), num_workers=1)
    assert files_of(folder / "out") == before


def test_overwrite_deals_anew(folder: Path) -> None:
    before = splits_of(folder)
    run(folder, overwrite=True, seed=5)
    assert set(splits_of(folder)) == set(before)
    assert json.loads((folder / "out" / "splits.json").read_text())["splits"] == splits_of(folder)


def test_other_folds_are_refused_though_the_plan_is_damaged(folder: Path) -> None:
    run(folder, overwrite=True, num_folds=3)
    damage(folder / "out" / "plan.json")
    (folder / "out" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"dealt to fold-2, too, which --num_folds=2 has not"):
        run(folder)


def test_what_a_run_left_that_was_killed_before_its_plan(folder: Path) -> None:
    before = splits_of(folder)
    for path in (folder / "out").iterdir():
        if path.name != "splits.json":
            path.unlink()
    run(folder)
    assert splits_of(folder) == before


def test_data_without_labels_have_no_splits_to_keep(folder: Path, tmp_path: Path) -> None:
    run(folder, labels_csv="", overwrite=True)
    assert not (folder / "out" / "splits.json").exists()
    damage(folder / "out" / "plan.json")
    run(folder, labels_csv="")
    assert verify(folder / "out", full=True) == []


def test_a_missing_plan_is_as_a_damaged_one(folder: Path) -> None:
    before = splits_of(folder)
    (folder / "out" / "plan.json").unlink()
    run(folder)
    assert splits_of(folder) == before
    assert not verify(folder / "out", full=True)


def test_without_its_plan_a_labelled_conversion_is_not_replaced(folder: Path) -> None:
    damage(folder / "out" / "plan.json")
    before = files_of(folder / "out")
    for changes in ({"labels_csv": ""}, {"image_size": 32}, {"num_folds": 3}):
        with pytest.raises(InputError, match="another plan"):
            run(folder, **changes)
    assert files_of(folder / "out") == before


def test_lost_splits_are_told_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "out" / "splits.json").unlink()
    run(folder)
    assert "splits.json: is missing" in caplog.text
    assert not verify(folder / "out")


def test_a_folder_of_a_former_schema_is_written_again_with_its_splits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = splits_of(folder)
    with monkeypatch.context() as former:
        former.setattr("ich_tf.conversion.config.SCHEMA_VERSION", 2)
        run(folder, overwrite=True)
    (folder / "out" / "splits.json").unlink()
    before = splits_of(folder)
    assert all("_SUCCESS" in found.file for found in verify(folder / "out", full=True))
    stored = files_of(folder / "out")
    with pytest.raises(InputError, match="former version"):
        repair(folder / "out", ())
    assert files_of(folder / "out") == stored
    run(folder)
    assert splits_of(folder) == before
    assert not verify(folder / "out", full=True)
