"""tools.inspect_tfrecords: every name of a slice leads to it; what is not there is explained."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.lookup import record_locations
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.dicom.reader import read_slice
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.windows import preset_windows, window_slice
from tests.support.commands import Command
from tests.support.conversions import config_for
from tests.support.dicom_files import make_dicom
from tests.support.secret_files import write_secret


def some_record(data_dir: Path, number: int = 5):
    plan, _ = load_plan(data_dir)
    return record_locations(data_dir, plan.shards[1])[number]


def test_a_slice_by_its_id_or_its_file(phantom_dir: Path, data_dir: Path) -> None:
    expected = some_record(data_dir)
    name = expected.planned.name
    for identifier in (expected.planned.source_id, name, name.removesuffix(".dcm")):
        found = find_slice(data_dir, identifier)
        assert found.location == expected
        assert found.record == expected.read()
    told = found.describe()
    assert told["labels"] == [
        label for label, there in zip(CLASSES, found.record.labels, strict=True) if there
    ]
    with open(told["shard"], "rb") as file:
        file.seek(told["offset"])
        assert found.record.encoded in file.read(told["size"])
    one = read_slice((phantom_dir / "stage_2_train" / name).read_bytes())
    windows = window_slice(one.hu, 64, preset_windows(told["windows"]))
    picture = found.picture()
    assert picture.shape == (84, 192)
    for channel in range(3):
        panel = picture[20:, 64 * channel : 64 * channel + 64]
        np.testing.assert_array_equal(panel, windows[..., channel])


def test_stored_hounsfield_units_are_windowed(phantom_dir: Path, tmp_path: Path) -> None:
    convert(config_for(phantom_dir, tmp_path / "hu", encoding="hu16"))
    convert(config_for(phantom_dir, tmp_path / "png"))
    identifier = some_record(tmp_path / "hu").planned.source_id
    pictures = [find_slice(tmp_path / name, identifier).picture() for name in ("hu", "png")]
    np.testing.assert_array_equal(*pictures)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files whose ids are no RSNA ids; two of one name, one that is cut, under a secret."""
    folder = tmp_path_factory.mktemp("strangers")
    for patient in range(4):
        for number in range(5):
            tags = {
                "SOPInstanceUID": f"1.2.{patient}.{number}",
                "PatientID": f"P{patient}",
                "StudyInstanceUID": f"1.3.{patient}",
                "SeriesInstanceUID": f"1.4.{patient}",
                "ImagePositionPatient": ["0", "0", str(5 * number)],
            }
            data = make_dicom(tags=tags)
            path = folder / "dicom" / f"p{patient}" / f"{patient if number else 'x'}{number}.dcm"
            if (patient, number) == (3, 4):
                path = path.with_name("33.dcm.7")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[:-500] if (patient, number) == (2, 3) else data)
    write_secret(folder / "key", "a secret of sixteen bytes")
    convert(
        config_for(
            folder,
            folder / "out",
            dicom_dir=str(folder / "dicom"),
            labels_csv="",
            hash_key_file=str(folder / "key"),
        )
    )
    return folder


def test_a_uid_needs_the_secret(strangers: Path) -> None:
    key = (strangers / "key").read_bytes()
    found = find_slice(strangers / "out", "1.2.1.4", key)
    assert found.record.source_id == pseudonym("1.2.1.4", key)
    assert found.location.planned.name == "p1/14.dcm"
    assert found.describe()["labels"] is None
    assert find_slice(strangers / "out", found.record.source_id).location == found.location
    with pytest.raises(InputError, match="--hash_key_file"):
        find_slice(strangers / "out", "1.2.1.4")


def test_a_name_that_several_files_have(strangers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"name of 4 slices .*p0/x0.dcm"):
        find_slice(strangers / "out", "x0.dcm")
    found = find_slice(strangers / "out", "p3/x0.dcm")
    assert found.record.slice_index == 0
    path = strangers / "dicom" / "p3" / "x0.dcm"
    assert find_slice(strangers / "out", str(path)).location == found.location
    monkeypatch.chdir(strangers / "dicom")
    assert find_slice(strangers / "out", "./p3/x0.dcm").location == found.location


def test_a_whole_name_comes_before_one_that_was_cut(strangers: Path) -> None:
    assert find_slice(strangers / "out", "33.dcm").location.planned.name == "p3/33.dcm"
    assert find_slice(strangers / "out", "33.dcm.7").location.planned.name == "p3/33.dcm.7"


def test_what_was_left_out_says_why(strangers: Path, phantom_dir: Path, tmp_path: Path) -> None:
    for name in ("p2/23.dcm", "23"):
        with pytest.raises(InputError, match="stage execute: TRUNCATED_PIXELS.*fewer bytes"):
            find_slice(strangers / "out", name)
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    gone, text = sorted(source.glob("*.dcm"))[:2]
    gone.unlink()
    text.write_text("no DICOM")
    convert(config_for(phantom_dir, tmp_path / "out", dicom_dir=str(source)))
    with pytest.raises(InputError, match="IMAGE_MISSING"):
        find_slice(tmp_path / "out", gone.stem)
    with pytest.raises(InputError, match="NOT_DICOM"):
        find_slice(tmp_path / "out", text.stem)


def test_a_typing_error_is_told_what_is_near(data_dir: Path) -> None:
    identifier = some_record(data_dir).planned.source_id
    typo = identifier[:-1] + ("0" if identifier[-1] != "0" else "1")
    with pytest.raises(InputError, match=f"Near it: .*{identifier}"):
        find_slice(data_dir, typo)


def test_the_command(run_command: Command, data_dir: Path, tmp_path: Path) -> None:
    expected = some_record(data_dir)
    identifier = expected.planned.source_id
    picture = tmp_path / "one.png"
    flags = (f"--data_dir={data_dir}", f"--id={identifier}", f"--out_png={picture}")
    lines = run_command("tools.inspect_tfrecords", *flags).stdout.splitlines()
    assert ["offset", str(expected.offset)] in [line.split() for line in lines]
    found = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(found, find_slice(data_dir, identifier).picture())
    told = json.loads(run_command("tools.inspect_tfrecords", *flags, "--json").stdout)
    assert told["record"] == expected.number
    assert told["picture"] == str(picture)
    assert "--id" in run_command("tools.inspect_tfrecords", flags[0], code=2).stderr
    nothing = run_command("tools.inspect_tfrecords", flags[0], "--id=ID_nothing", code=1)
    assert "no slice and no input" in nothing.stderr
    nowhere = run_command("tools.inspect_tfrecords", f"--data_dir={tmp_path}", flags[1], code=1)
    assert "holds no TFRecords" in nowhere.stderr
