"""Several files of one SOP instance UID."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion import convert as conversion
from ich_tf.conversion import copies
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import Plan
from ich_tf.conversion.verification import verify
from ich_tf.labels import write_long_csv
from tests.support.conversions import records_of
from tests.support.dicom_files import make_dicom, make_enhanced

GOOD = make_dicom()
OTHER = make_dicom(np.arange(64 * 48, dtype=np.int16)[::-1].reshape(64, 48))
NONE, SUBDURAL = [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]


def converted(
    tmp_path: Path, files: dict[str, bytes], labels: dict[str, list[int]] | None = None, **changes
) -> tuple[list[dict], dict[str, str]]:
    """Records, and path -> reason and message of what is left out.

    With labels, four patients are added that make the folds.
    """
    folder = tmp_path / "dicom"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    config = ConversionConfig(
        dicom_dir=str(folder),
        labels_csv="",
        out_dir=str(tmp_path / "out"),
        image_size=16,
        num_workers=1,
        num_folds=2,
        test_fraction=0.0,
        max_bad_fraction=1.0,
    )
    if labels:
        for number in range(4):
            tags = dict.fromkeys(("SOPInstanceUID", "PatientID"), f"9.{number}")
            (folder / f"z{number}.dcm").write_bytes(make_dicom(tags=tags))
            labels[f"z{number}"] = NONE
        write_long_csv(tmp_path / "labels.csv", list(labels), np.array(list(labels.values())))
        config = replace(config, labels_csv=str(tmp_path / "labels.csv"))
    convert(replace(config, **changes))
    assert verify(tmp_path / "out", full=True) == []
    lines = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines())
    return records_of(tmp_path / "out"), {
        line["path"]: f"{line['reason']}: {line['message']}" for line in lines
    }


@pytest.mark.parametrize("crop", ["none", "head"])
@pytest.mark.parametrize("reason", ["TRUNCATED_PIXELS", "BAD_RESCALE", "BAD_GEOMETRY"])
def test_the_first_that_can_be_used_is_used(tmp_path: Path, reason: str, crop: str) -> None:
    bad = {
        "TRUNCATED_PIXELS": GOOD[:-3000],
        "BAD_RESCALE": make_dicom(without=("RescaleSlope",)),
        "BAD_GEOMETRY": make_dicom(without=("PixelSpacing",)),
    }[reason]
    records, left_out = converted(tmp_path, {"a": bad, "b": GOOD, "c": GOOD}, crop=crop)
    assert len(records) == 1
    assert left_out["a"].startswith(reason)
    assert left_out["c"] == "DUPLICATE_IMAGE: has the image id of b, which is kept."


def test_other_pixels_are_a_conflict(tmp_path: Path) -> None:
    records, left_out = converted(tmp_path, {"a": GOOD, "b": OTHER})
    assert len(records) == 1
    assert left_out == {
        "b": "IMAGE_CONFLICT: has the image id of a, which is kept; the two differ in pixels."
    }


def test_another_header_is_a_conflict(tmp_path: Path) -> None:
    moved = make_dicom(tags={"ImagePositionPatient": ["0", "0", "9"]})
    _, left_out = converted(tmp_path, {"a": GOOD, "b": moved})
    assert left_out["b"].endswith("the two differ in header.")


def test_a_copy_in_another_transfer_syntax_is_a_copy(tmp_path: Path) -> None:
    _, left_out = converted(tmp_path, {"a": GOOD, "b": make_dicom(syntax="implicit")})
    assert left_out["b"].startswith("DUPLICATE_IMAGE")


def test_if_none_can_be_used_each_has_its_reason(tmp_path: Path) -> None:
    sound = make_dicom(tags={"SOPInstanceUID": "7"})
    records, left_out = converted(tmp_path, {"a": GOOD[:-99], "b": GOOD[:-999], "c": sound})
    assert len(records) == 1
    assert {text.split(":")[0] for text in left_out.values()} == {"TRUNCATED_PIXELS"}
    assert set(left_out) == {"a", "b"}


def test_other_labels_are_a_conflict(tmp_path: Path) -> None:
    labels = {"a": NONE, "b": SUBDURAL}
    records, left_out = converted(tmp_path, {"a.dcm": GOOD, "b.dcm": GOOD}, labels)
    assert len(records) == 5
    assert set(left_out) == {"b.dcm"}
    assert left_out["b.dcm"].startswith("LABEL_CONFLICT: has the image id of a.dcm")


def test_labels_of_a_copy_are_those_of_the_image(tmp_path: Path) -> None:
    records, left_out = converted(tmp_path, {"a.dcm": GOOD, "b.dcm": GOOD}, {"b": SUBDURAL})
    assert sum(int(record["labels"].numpy()[-1]) for record in records) == 1
    assert left_out["b.dcm"].startswith("DUPLICATE_IMAGE")


def test_labels_of_other_pixels_are_not(tmp_path: Path) -> None:
    """The file without labels is not given those of another image that has its UID."""
    records, left_out = converted(tmp_path, {"a.dcm": GOOD, "b.dcm": OTHER}, {"b": SUBDURAL})
    assert sum(int(record["labels"].numpy()[-1]) for record in records) == 1
    assert left_out["a.dcm"].startswith("IMAGE_CONFLICT: has the image id of b.dcm")


def test_copies_of_many_images_are_compared_in_lots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_IMAGES_PER_LOT", 2)
    files = {}
    for number in range(5):
        place = ["0", "0", str(5 * number)]
        tags = {"SOPInstanceUID": f"1.2.{number}", "ImagePositionPatient": place}
        data = make_dicom(tags=tags)
        files |= {f"a{number}": data[: -99 if number % 2 else None], f"b{number}": data}
    records, left_out = converted(tmp_path, files)
    assert len(records) == 5
    assert {name: text.split(":")[0] for name, text in left_out.items()} == {
        "b0": "DUPLICATE_IMAGE",
        "a1": "TRUNCATED_PIXELS",
        "b2": "DUPLICATE_IMAGE",
        "a3": "TRUNCATED_PIXELS",
        "b4": "DUPLICATE_IMAGE",
    }


def test_copies_without_labels_are_each_listed(tmp_path: Path) -> None:
    records, left_out = converted(tmp_path, {"a.dcm": GOOD, "b.dcm": GOOD}, {"nobody": NONE})
    assert len(records) == 4
    assert left_out["a.dcm"].startswith("LABEL_MISSING")
    assert left_out["b.dcm"].startswith("LABEL_MISSING")


def test_frames_of_two_files(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 2000, (3, 20, 20)).astype(np.int16)
    whole = make_enhanced(stack)
    cut = whole[:-500]
    records, left_out = converted(tmp_path, {"a": cut, "b": whole})
    assert [int(record["slice_index"]) for record in records] == [0, 1, 2]
    assert {text.split(":")[0] for text in left_out.values()} <= {
        "TRUNCATED_PIXELS",
        "DUPLICATE_IMAGE",
    }


def test_members_of_an_archive_and_two_workers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in {"s/a": GOOD[:-99], "s/b": GOOD, "t/c": OTHER}.items():
            archive.writestr(name, data)
    records, left_out = converted(tmp_path, {}, dicom_dir=str(tmp_path / "a.zip"), num_workers=2)
    assert len(records) == 1
    assert left_out["s/a"].startswith("TRUNCATED_PIXELS")
    assert left_out["t/c"].startswith("IMAGE_CONFLICT: has the image id of s/b")


def test_a_file_that_turns_bad_is_replaced_by_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names the file that it was made of, and the bad one is listed."""
    save = conversion.save_plan

    def save_and_damage(folder: Path, plan: Plan, root: Path) -> None:
        save(folder, plan, root)
        (root / "a").write_bytes(GOOD[:-99])

    monkeypatch.setattr(conversion, "save_plan", save_and_damage)
    (record,), left_out = converted(tmp_path, {"a": GOOD, "b": GOOD})
    assert record["sha256"].numpy().decode() == hashlib.sha256(GOOD).hexdigest()
    assert left_out["a"].startswith("TRUNCATED_PIXELS")
