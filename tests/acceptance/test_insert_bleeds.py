"""Bleeds put into a head without one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.acceptance.config import InsertConfig
from ich_tf.acceptance.insert import insert_bleeds
from ich_tf.dicom.reader import read_slice
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import SUBTYPES, read_labels
from ich_tf.masks.png_masks import Masks
from tests.acceptance.conftest import head_hu, write_head

_SHARES = ("subdural=1", "intraparenchymal=1")


def _config(negatives: Path, out_dir: Path, **options: object) -> InsertConfig:
    given = {"per_study": 2, "subtype_shares": _SHARES, "min_volume_ml": 25.0, "seed": 3} | options
    return InsertConfig(dicom_dir=str(negatives), out_dir=str(out_dir), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def inserted(negatives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("inserted") / "out"
    summary = insert_bleeds(_config(negatives, out_dir), 1)
    assert (summary.num_series, summary.num_cases, summary.num_slices) == (1, 2, 28)
    assert summary.leading["subdural"] == summary.leading["intraparenchymal"] == 1
    return out_dir


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


def test_same_bytes_from_the_same_seed(negatives: Path, inserted: Path, tmp_path: Path) -> None:
    insert_bleeds(_config(negatives, tmp_path / "again"), 1)

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
        insert_bleeds(_config(tmp_path / "neck", tmp_path / "out"), 1)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(negatives: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        insert_bleeds(_config(negatives, tmp_path), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


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
        _config(Path("in"), Path("out"), **options)
