"""Bleeds put into a head without one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.acceptance.case import SeriesResult, SeriesTask, insert_into_series
from ich_tf.acceptance.insert import insert_bleeds
from ich_tf.acceptance.scan import choose_series
from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import SUBTYPES, read_labels
from ich_tf.masks.png_masks import Masks
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.writing import writing
from tests.acceptance.conftest import config_of, head_hu, write_head


def _slices(folder: Path) -> dict[float, tuple[Path, np.ndarray]]:
    read = ((path, read_slice(path.read_bytes())) for path in folder.glob("*.dcm"))
    return {slice_.header.position_mm[2]: (path, slice_.hu) for path, slice_ in read}


def test_blood_has_the_density_and_the_noise_that_was_asked_for(inserted: Path) -> None:
    cases = json.loads((inserted / "inserted.json").read_text())["cases"]
    assert len(cases) == 2
    for case in cases:
        assert abs(case["measured_hu"] - case["asked_hu"]) < 2.0, case
        assert case["contrast_hu"] > 5.0
        # The head has 3 HU of noise, and too little white matter to measure it.
        assert 2.2 < case["noise_in_blood_hu"] < 4.2
        assert 0.6 < case["ml"] / sum(bleed["ml"] for bleed in case["bleeds"]) < 1.4
        assert case["moved_mm"] > 0


def test_pixels_change_in_the_skull_alone(negatives: Path, inserted: Path) -> None:
    sources = _slices(negatives)
    labels = read_labels(inserted / "labels.csv")
    masks = Masks(inserted / "masks")
    for case in (inserted / "dicom").iterdir():
        copies = _slices(case)
        assert copies.keys() == sources.keys()
        changed = in_bone = 0
        for place, (path, hu) in copies.items():
            source = sources[place][1]
            different = hu != source
            changed += int(different.sum())
            assert not different[source < -200].any()
            # The scanner blurs blood over the edge of the bone.
            in_bone += int(different[source > 600].sum())
            mask = masks.read(path.stem)
            assert mask is not None
            assert not (mask[-1] & ~different).sum() > 0.05 * mask[-1].sum()
            assert (
                labels.loc[path.stem].to_numpy().astype(bool).tolist()
                == mask.any(axis=(1, 2)).tolist()
            )
            if mask[-1].any():
                assert hu[mask[-1]].mean() > source[mask[-1]].mean() + 5
        assert in_bone < 0.2 * changed
        assert 500 < changed < 0.6 * len(copies) * hu.size
    assert set(labels.columns) == {*SUBTYPES, "any"}
    assert labels["any"].sum() >= 4


def test_headers_say_what_the_files_are_and_not_whose(negatives: Path, inserted: Path) -> None:
    sources = [pydicom.dcmread(path) for path in sorted(negatives.glob("*.dcm"))]
    copies = [pydicom.dcmread(path) for path in sorted((inserted / "dicom").rglob("*.dcm"))]
    assert len({copy.SOPInstanceUID for copy in copies}) == len(copies)
    assert len({copy.StudyInstanceUID for copy in copies}) == 2
    for copy in copies:
        assert copy.ImageType[0] == "DERIVED"
        assert "NOT FOR CLINICAL USE" in copy.SeriesDescription
        assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
        assert copy.PatientID.startswith("INSERTED-")
        assert copy.PatientName != sources[0].PatientName and not copy.PatientBirthDate
        assert copy.StudyInstanceUID != sources[0].StudyInstanceUID
    # A conversion keeps a patient in one split: copies of one scan must not be on both sides.
    assert len({copy.PatientID for copy in copies}) == 1


@pytest.mark.slow
def test_same_bytes_from_the_same_seed(negatives: Path, inserted: Path, tmp_path: Path) -> None:
    insert_bleeds(config_of(negatives, tmp_path / "again"), 2)

    def digests(folder: Path) -> dict[str, str]:
        paths = [*folder.rglob("*.dcm"), *folder.rglob("*.png"), folder / "labels.csv"]
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        }

    assert digests(tmp_path / "again") == digests(inserted)


def test_a_series_that_is_no_head_is_named_with_its_reason(tmp_path: Path) -> None:
    soft = np.minimum(head_hu(), 60)
    write_head(tmp_path / "neck", soft)
    with pytest.raises(InputError, match=r"0 of its 14 slices show the inside of a skull"):
        insert_bleeds(config_of(tmp_path / "neck", tmp_path / "out"), 1)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(negatives: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        insert_bleeds(config_of(negatives, tmp_path), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_of_an_insertion_that_was_cut_off_says_so(
    negatives: Path, inserted: Path, tmp_path: Path
) -> None:
    (tmp_path / "dicom" / "case0000_000").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    with pytest.raises(InputError, match=r"was cut off: it has no inserted\.json"):
        insert_bleeds(config_of(negatives, tmp_path), 1)
    with pytest.raises(InputError, match="inserted bleeds already"):
        insert_bleeds(config_of(negatives, inserted), 1)


def test_a_full_disk_leaves_nothing_behind(
    negatives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(task: SeriesTask) -> SeriesResult:
        with writing(tmp_path):
            (tmp_path / "masks" / "case0000_000_000.png").write_bytes(b"part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Late(LocalExecutor):
        """Another worker, which still writes when the disk is full."""

        def __exit__(self, *error: object) -> None:
            (tmp_path / "masks" / "case0001_000_000.png").write_bytes(b"part")
            super().__exit__(*error)

    monkeypatch.setattr("ich_tf.acceptance.insert.LocalExecutor", Late)
    monkeypatch.setattr("ich_tf.acceptance.insert.insert_into_series", fill)
    with pytest.raises(InputError, match="what was written is removed"):
        insert_bleeds(config_of(negatives, tmp_path), 1)
    assert not list(tmp_path.iterdir())


def test_an_element_that_cannot_be_written_leaves_no_part_of_its_series(
    negatives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(task: SeriesTask, *_: object) -> SeriesResult:
        (tmp_path / "dicom" / "case0000_000").mkdir()
        (tmp_path / "masks" / "case0000_000_000.png").write_bytes(b"part")
        (tmp_path / "masks" / "case0001_000_000.png").write_bytes(b"of another")
        raise DicomError(Reason.BAD_HEADER, "its elements cannot be written.")

    (series,), _ = choose_series(
        list_sources(negatives).sources, SeriesChoice.parse("best"), LocalExecutor(1)
    )
    task = SeriesTask(config_of(negatives, tmp_path), series, 0, (0,), "")
    monkeypatch.setattr("ich_tf.acceptance.case.prepare", lambda *_: None)
    monkeypatch.setattr("ich_tf.acceptance.case._copies", refuse)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "masks").mkdir()
    assert insert_into_series(task).problem == "its elements cannot be written."
    assert not list((tmp_path / "dicom").iterdir())
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["case0001_000_000.png"]


def test_the_slice_that_cannot_be_read_is_named(negatives: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(negatives, folder)
    cut = sorted(folder.iterdir())[5]
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(InputError, match=rf"its slice {cut.name}: PixelData has"):
        insert_bleeds(config_of(folder, tmp_path / "out"), 1)


@pytest.mark.parametrize(
    "options",
    [
        {"per_study": 0},
        {"subtype_shares": ("stroke=1",)},
        {"min_volume_ml": 90.0},
        {"patient": "x"},
    ],
)
def test_wrong_options_name_themselves(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).replace("min", "m[ai][nx]")):
        config_of(Path("in"), Path("out"), **options)
