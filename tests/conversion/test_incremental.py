"""A conversion run again over inputs that changed: what they touch is written again, no more."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.verification import verify
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.records.splits import place_patients
from tests.support.conversions import config_for, files_of, records_of, write_part
from tests.support.dicom_files import rewrite

# RSNA's ids are no valid UIDs.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


@pytest.fixture(scope="module")
def study(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("incremental") / "rsna"
    write_part(phantom_dir, folder, slice(7))
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """The phantoms, to be changed, and their conversion in out/."""
    folder = tmp_path / "rsna"
    shutil.copytree(study, folder)
    convert(config(folder))
    return folder


def config(folder: Path, **changes: object):
    return config_for(folder, folder / "out", num_folds=2, **changes)


def written_again(folder: Path, **changes: object) -> set[str]:
    """Converts once more; the shards that were written."""
    times = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.tfrecord")}
    convert(config(folder, **changes))
    assert verify(folder / "out", full=True) == []
    now = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.tfrecord")}
    return {name for name in now if now[name] != times.get(name)} | (set(times) - set(now))


def home(folder: Path, name: str) -> str:
    """The shard of a file."""
    plan, _ = load_plan(folder / "out")
    return next(one.name for one in plan.shards if name in {s.name for s in one.slices()})


def test_nothing_changed(copy: Path) -> None:
    before = files_of(copy / "out")
    assert written_again(copy) == set()
    assert files_of(copy / "out") == before


def test_corrected_pixels_touch_one_shard(copy: Path) -> None:
    """The header stays as it was, so that only the file's stamp tells."""
    path = sorted((copy / "stage_2_train").iterdir())[4]
    data = bytearray(path.read_bytes())
    data[-1000:-900] = bytes(100)
    path.write_bytes(data)
    assert written_again(copy) == {home(copy, path.name)}


def test_corrected_labels_touch_one_shard(copy: Path) -> None:
    frame = pd.read_csv(copy / "stage_2_train.csv")
    image_id = frame["ID"][0].rsplit("_", 1)[0]
    frame.loc[frame["ID"].str.startswith(image_id), "Label"] = 1
    frame.to_csv(copy / "stage_2_train.csv", index=False)
    assert written_again(copy) == {home(copy, f"{image_id}.dcm")}
    found = {record["source_id"].numpy().decode(): record for record in records_of(copy / "out")}
    assert found[image_id]["labels"].numpy().tolist() == [1] * 6


def test_a_new_series_of_a_known_patient_stays_in_the_patients_split(copy: Path) -> None:
    names = sorted(path.name for path in (copy / "stage_2_train").iterdir())
    data = (copy / "stage_2_train" / names[0]).read_bytes()
    rows = []
    for number in range(3):
        new = rewrite(
            data,
            SOPInstanceUID=f"1.2.{number}",
            SeriesInstanceUID="1.3",
            StudyInstanceUID="1.4",
            ImagePositionPatient=["0", "0", str(5 * number)],
        )
        (copy / "stage_2_train" / f"ID_{number:09x}.dcm").write_bytes(new)
        rows += [f"ID_{number:09x}_{name},0" for name in CLASSES]
    with open(copy / "stage_2_train.csv", "a") as file:
        file.write("\n".join(rows) + "\n")
    split = home(copy, names[0]).rsplit("-", 3)[0]
    (touched,) = written_again(copy)
    assert touched == home(copy, "ID_000000001.dcm")
    assert touched.startswith(split)


def test_new_patients_touch_few_shards_and_move_nobody(
    copy: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    write_part(phantom_dir, more, slice(7, 9))
    before, _ = load_plan(copy / "out")
    for path in (more / "stage_2_train").iterdir():
        shutil.copy2(path, copy / "stage_2_train")
    with open(copy / "stage_2_train.csv", "a") as file:
        file.write((more / "stage_2_train.csv").read_text().split("\n", 1)[1])
    touched = written_again(copy)
    after, _ = load_plan(copy / "out")
    for split, patients in before.patients.items():
        assert set(patients) <= set(after.patients[split])
    newcomers = {one for keys in after.patients.values() for one in keys} - {
        one for keys in before.patients.values() for one in keys
    }
    assert len(newcomers) == 2
    assert 0 < len(touched) <= 2


def test_an_image_that_is_gone_leaves_its_shard(copy: Path) -> None:
    path = sorted((copy / "stage_2_train").iterdir())[4]
    shard = home(copy, path.name)
    path.unlink()
    before = files_of(copy / "out")
    with pytest.raises(InputError, match="1 of the .* images of this conversion are no longer"):
        convert(config(copy, max_bad_fraction=0.0))
    assert files_of(copy / "out") == before
    assert written_again(copy, max_bad_fraction=0.1) == {shard}


def test_another_data_set_is_refused(copy: Path, phantom_dir: Path, tmp_path: Path) -> None:
    before = files_of(copy / "out")
    other = tmp_path / "other"
    write_part(phantom_dir, other, slice(7, 10))
    changes = {
        "dicom_dir": str(other / "stage_2_train"),
        "labels_csv": str(other / "stage_2_train.csv"),
    }
    with pytest.raises(InputError, match="another data set"):
        convert(config(copy, **changes))
    with pytest.raises(InputError, match="it was made with labels"):
        convert(config(copy, labels_csv=""))
    assert files_of(copy / "out") == before
    result = convert(config(copy, **changes, overwrite=True))
    assert result.num_kept == 0
    assert verify(copy / "out", full=True) == []
    fresh = convert(config_for(copy, tmp_path / "fresh", num_folds=2, **changes))
    assert files_of(fresh.out_dir) == files_of(copy / "out")


def test_newcomers_go_where_their_like_are_few() -> None:
    bleeding, clear = np.array([0, 0, 0, 0, 1, 1]), np.zeros(6, np.int64)
    labels = {f"b{i}": bleeding for i in range(6)} | {f"c{i}": clear for i in range(6)}
    known = {"b0": "fold-0", "b1": "test", "c0": "fold-1", "c1": "test"}
    found = place_patients(labels, known, num_folds=2, test_fraction=0.2)
    assert {patient: found[patient] for patient in known} == known
    counts = {
        (split, kind): sum(found[patient] == split and patient[0] == kind for patient in found)
        for split in ("fold-0", "fold-1", "test")
        for kind in "bc"
    }
    assert counts["test", "b"] == counts["test", "c"] == 1
    assert abs(counts["fold-0", "b"] - counts["fold-1", "b"]) <= 1
    assert abs(counts["fold-0", "c"] - counts["fold-1", "c"]) <= 1
