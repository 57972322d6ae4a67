"""Conversions whose masks say their place: NIfTI, DICOM segmentations and structure sets."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.planes import Plane
from ich_tf.records import data_files
from ich_tf.records.mask_images import read_mask
from ich_tf.records.schema import SliceRecord
from tests.masks.dicom_masks import ct_slices, write_rtstruct, write_seg
from tests.masks.stacks import (
    SUBDURAL,
    VOLUME_ML,
    affine_of,
    masks,
    stack,
    write_nifti,
)
from tests.support.conversions import files_of, slice_records_of
from tests.support.dicom_files import make_dicom

pytest.importorskip("nibabel")
pytest.importorskip("highdicom")

_TAGS = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness",
)  # fmt: skip

_PLACES = {
    "5 mm": np.arange(41.0, 101.0, 5.0),
    "2.5 mm": np.arange(41.0, 101.0, 2.5),
    "gap": np.array([*np.arange(41.0, 72.0, 2.5), *np.arange(78.5, 101.0, 5.0)]),
}


class Study:
    """A tilted series with a subdural bleed of 33.5 ml, in dicom/, and a folder for its mask."""

    def __init__(
        self, folder: Path, places: np.ndarray = _PLACES["5 mm"], tilt_deg: float = -18.0
    ) -> None:
        self.folder, self.masks = folder, folder / "masks"
        self.planes = stack(places, size=64, tilt_deg=tilt_deg)
        self.slices: list[Dataset] = ct_slices(self.planes)
        self.bits = masks(self.planes)
        self.marked = self.bits > 0
        (folder / "dicom").mkdir()
        self.masks.mkdir()
        for number, (slice_, image) in enumerate(zip(self.slices, self.head(), strict=True)):
            tags = {name: getattr(slice_, name) for name in _TAGS}
            data = make_dicom(image.astype(np.int16), tags=tags)
            (folder / "dicom" / f"{number}.dcm").write_bytes(data)

    def head(self) -> np.ndarray:
        """Stored values of the slices: a skull that is alike in no other orientation."""
        slices = []
        for plane in self.planes:
            grid = np.mgrid[: plane.rows, : plane.columns].reshape(2, -1)
            x, y, z = plane.points_mm(grid[0], grid[1]).T
            inner = (x / 70) ** 2 + ((y - 0.3 * x) / 90) ** 2 + ((z - 60) / 90) ** 2
            nose = np.exp(-(((x - 20) / 20) ** 2) - ((y + 60) / 25) ** 2 - ((z - 50) / 30) ** 2)
            hu = np.where(inner < 1, 40, -1000) + np.where((inner < 1) & (inner > 0.8), 800, 0)
            slices.append((hu + 300 * nose + 2 * z).reshape(plane.rows, plane.columns) + 1024)
        return np.stack(slices)

    @property
    def series(self) -> str:
        return str(self.slices[0].SeriesInstanceUID)

    def config(self, **changes: object) -> ConversionConfig:
        values: dict = {
            "dicom_dir": str(self.folder / "dicom"),
            "labels_csv": "",
            "masks_dir": str(self.masks),
            "out_dir": str(self.folder / "out"),
            "image_size": 32,
            "num_workers": 1,
        }
        return ConversionConfig(**{**values, **changes})

    def convert(self, **changes: object) -> list[SliceRecord]:
        """Records in the order of the slices."""
        convert(self.config(**changes))
        assert verify(self.folder / "out", full=True) == []
        return sorted(slice_records_of(self.folder / "out"), key=lambda r: r.slice_index)

    def reasons(self) -> dict[str, str]:
        text = (self.folder / "out" / data_files.QUARANTINE).read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert all(line["stage"] == "mask" for line in lines)
        return {line["path"]: line["reason"] for line in lines}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def nifti(study: Study, name: str = "", *, planes: list[Plane] | None = None) -> Path:
    affine = affine_of(planes or study.planes)
    path = study.masks / f"{name or study.series}.nii.gz"
    return write_nifti(path, study.marked.astype(np.uint8), affine)


def seg(study: Study) -> Path:
    return write_seg(study.masks / "any.dcm", study.slices, study.marked[..., None], ["subdural"])


def rtstruct(study: Study) -> Path:
    """Contours around the pixels of each slice, through the middle of their outer sides."""
    contours = []
    for index, plane in enumerate(study.planes):
        for row in np.flatnonzero(study.marked[index].any(axis=1)):
            columns = np.flatnonzero(study.marked[index, row])
            left, right = columns.min() - 0.5, columns.max() + 0.5
            rows = np.array([row - 0.5, row - 0.5, row + 0.5, row + 0.5])
            contours.append((index, plane.points_mm(rows, np.array([left, right, right, left]))))
    return write_rtstruct(study.masks / "drawn", study.slices, {"Subdural": contours})


def png(study: Study) -> list[Path]:
    paths = [study.masks / f"{number}.png" for number in range(len(study.planes))]
    for path, marked in zip(paths, study.marked, strict=True):
        cv2.imwrite(str(path), marked.astype(np.uint8) * 16)
    return paths


@pytest.mark.parametrize(
    ("write", "classes", "annotated"),
    [
        (nifti, "1:subdural", 1 << SUBDURAL),
        (nifti, "", 1 << ANY),
        (seg, "", 1 << SUBDURAL),
        (rtstruct, "", 1 << SUBDURAL),
    ],
)
def test_a_mask_of_any_format_lies_where_its_planes_say(
    study: Study, write: Callable[[Study], Path], classes: str, annotated: int
) -> None:
    path = write(study)
    records = study.convert(mask_classes=classes)
    assert study.reasons() == {}
    height, width = study.planes[0].spacing_mm
    class_ = int(math.log2(annotated))
    areas = study.marked.sum(axis=(1, 2)) * height * width
    empty = areas == 0
    for record, area, is_empty in zip(records, areas, empty, strict=True):
        assert record.lesion_mm2[class_] == pytest.approx(area, rel=1e-5)
        # Where there is nothing of a binary mask, there is nothing of any subtype either.
        assert record.annotated == (63 if is_empty and class_ == ANY else annotated)
        assert bool(record.mask) != is_empty
    marked = np.stack([read_mask(record) >> class_ & 1 for record in records])
    assert marked.sum() * height * width * 4 == pytest.approx(areas.sum(), rel=0.1)
    content = json.loads((study.folder / "out" / data_files.MANIFEST).read_text())["masks"]
    assert content["ml"][CLASSES[class_]] == pytest.approx(VOLUME_ML, rel=0.02)
    # A repair places it again, from the planes of the files.
    before = files_of(study.folder / "out")
    (shard,) = (name for name in before if name.endswith(".tfrecord"))
    (study.folder / "out" / shard).write_bytes(b"")
    repair(study.folder / "out", [shard], num_workers=1)
    assert files_of(study.folder / "out") == before
    assert convert(study.config(mask_classes=classes)).num_kept == 1
    path.unlink()
    records = study.convert(mask_classes=classes)
    assert {(record.annotated, record.mask) for record in records} == {(0, b"")}


@pytest.mark.slow
@pytest.mark.parametrize("tilt_deg", [0.0, -18.0])
@pytest.mark.parametrize("name", list(_PLACES))
def test_the_volume_depends_neither_on_slices_nor_on_formats(
    tmp_path: Path, name: str, tilt_deg: float
) -> None:
    study = Study(tmp_path, _PLACES[name], tilt_deg)
    for write in (png, seg, rtstruct, nifti):
        if name == "gap" and write is nifti:
            continue  # an array has one distance between its slices
        paths = write(study)
        result = convert(study.config(mask_classes="1:any,16:subdural"))
        assert study.reasons() == {}
        ml = max(result.masks["ml"].values())
        assert ml == pytest.approx(VOLUME_ML, rel=0.02), write.__name__
        for path in [paths] if isinstance(paths, Path) else paths:
            path.unlink()
        shutil.rmtree(study.folder / "out")


@pytest.mark.slow
def test_two_workers_write_the_same_masks(study: Study) -> None:
    for write in (seg, nifti, rtstruct):
        write(study)
    study.convert(mask_classes="1:epidural")
    one = files_of(study.folder / "out")
    shutil.rmtree(study.folder / "out")
    study.convert(mask_classes="1:epidural", num_workers=2)
    assert files_of(study.folder / "out") == one


def test_masks_that_fit_no_series_are_listed(study: Study) -> None:
    other = ct_slices(study.planes)
    write_seg(study.masks / "other.dcm", other, study.marked[..., None], ["subdural"])
    nifti(study, "stranger")
    upright = stack(np.arange(41.0, 101.0, 5.0), size=64)
    nifti(study, study.slices[0].PatientID, planes=upright)
    float_mask = study.marked.astype(np.float32) / 2
    write_nifti(study.masks / f"{study.series}.nii", float_mask, affine_of(study.planes))
    (study.masks / "boxes.csv").write_text("x,y\n")
    (study.masks / "empty.nii.gz").write_bytes(b"")
    with (study.masks / "masks.csv").open("w") as file:
        file.write(f"file,series\nempty.nii.gz,{study.series}\n")
    records = study.convert()
    assert study.reasons() == {
        "other.dcm": "MASK_OTHER_SERIES",
        "stranger.nii.gz": "MASK_UNUSED",
        f"{study.slices[0].PatientID}.nii.gz": "MASK_MISALIGNED",
        f"{study.series}.nii": "MASK_FORMAT",
        "boxes.csv": "MASK_FORMAT",
        "empty.nii.gz": "MASK_FORMAT",
    }
    assert len(records) == len(study.planes)
    assert {(record.annotated, record.mask) for record in records} == {(0, b"")}


def test_a_table_names_the_series_of_masks(study: Study) -> None:
    (study.masks / "scan7").mkdir()
    nifti(study, "scan7/label")
    table = study.masks / "masks.csv"
    table.write_text(f"file,series\nscan7/label.nii.gz,{study.slices[0].StudyInstanceUID}\n")
    records = study.convert()
    assert study.reasons() == {} and sum(bool(record.mask) for record in records) > 4
    # Excel's separators and the path without its ending; a row of another file is listed.
    study_id = study.slices[0].StudyInstanceUID
    table.write_text(f"File; Series\nscan7\\label; {study_id}\nlost.nii;x\n", "utf-8-sig")
    assert [record.mask for record in study.convert()] == [record.mask for record in records]
    assert study.reasons() == {"masks.csv": "MASK_UNUSED"}
    for text, match in (
        ("mask,uid\na,b\n", "has no column file and series"),
        ("file,series\na\n", "line 2 has 1 values"),
        ("file,series\na,\n", "no file or no series"),
        ("", "is empty"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=f"{match}.*Expected a CSV with the columns"):
            study.convert()


def test_names_of_masks_that_name_no_slice_say_why(study: Study) -> None:
    png(study)
    for name in ("other", "again"):
        (study.masks / name).mkdir()
        shutil.copy(study.masks / "1.png", study.masks / name / "lost.png")
    second = f"{study.slices[1].SOPInstanceUID}.png"
    shutil.copy(study.masks / "1.png", study.masks / second)
    path = nifti(study)
    path.rename(path.with_name(f"{study.series}.NII.GZ"))
    study.convert(mask_classes="1:any,16:subdural")
    lines = (study.folder / "out" / data_files.QUARANTINE).read_text().splitlines()
    messages = {line["path"]: line["message"] for line in map(json.loads, lines)}
    assert set(study.reasons().values()) == {"MASK_UNUSED"} and len(messages) == 3
    assert "shares its name with other masks" in messages["again/lost.png"]
    assert "second mask of a slice, which has" in messages[second]


def test_a_segmentation_without_references_goes_by_its_study(study: Study) -> None:
    def bare(dataset: Dataset) -> None:
        del dataset.ReferencedSeriesSequence
        del dataset.SourceImageSequence
        for group in dataset.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    def write(change: Callable[[Dataset], None]) -> None:
        write_seg(
            study.masks / "any.dcm", study.slices, study.marked[..., None], ["subdural"], change
        )

    write(bare)
    records = study.convert()
    assert study.reasons() == {} and sum(bool(record.mask) for record in records) > 4

    def elsewhere(dataset: Dataset) -> None:
        bare(dataset)
        dataset.StudyInstanceUID = "1.2.3"

    write(elsewhere)
    study.convert()
    assert study.reasons() == {"any.dcm": "MASK_OTHER_SERIES"}


def test_an_image_shows_that_its_mask_is_mirrored(study: Study) -> None:
    images = study.folder / "images"
    images.mkdir()
    affine = affine_of(study.planes)
    head = study.head().astype(np.float32) - 1024
    path = nifti(study)
    write_nifti(images / path.name, head, affine)
    records = study.convert(mask_images_dir=str(images))
    assert study.reasons() == {} and any(record.mask for record in records)
    write_nifti(images / path.name, np.ascontiguousarray(head[:, :, ::-1]), affine)
    records = study.convert(mask_images_dir=str(images))
    assert study.reasons() == {path.name: "MASK_MISALIGNED"}
    assert not any(record.mask for record in records)
    write_nifti(images / path.name, head, affine + np.diag([0, 0, 0.2, 0]))
    study.convert(mask_images_dir=str(images))
    assert study.reasons() == {path.name: "MASK_MISALIGNED"}
    (images / path.name).unlink()
    study.convert(mask_images_dir=str(images))
    assert study.reasons() == {path.name: "MASK_UNREADABLE"}
    shutil.rmtree(study.masks)
    study.masks.mkdir()
    names = [path.name for path in png(study)]
    study.convert(mask_images_dir=str(images))
    assert study.reasons() == dict.fromkeys(names, "MASK_FORMAT")
    images.rmdir()
    with pytest.raises(InputError, match="no such folder.*--mask_images_dir"):
        study.convert(mask_images_dir=str(images))


def test_flags_of_masks_belong_to_a_folder_of_masks() -> None:
    with pytest.raises(ConfigError, match="mask_format is 'nifti'; it must be given with"):
        ConversionConfig(mask_format="nifti")
    with pytest.raises(ConfigError, match="mask_classes"):
        ConversionConfig(masks_dir="masks", mask_classes="1:bleed")
