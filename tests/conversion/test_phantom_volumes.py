"""A phantom's bleeds have the same volumes however they are scanned and their masks are stored."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.dicom.reader import Slice, read_slices
from ich_tf.labels import CLASSES
from ich_tf.masks.planes import Plane
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.phantom.basic import scanner
from ich_tf.phantom.basic.head import make_head
from ich_tf.phantom.basic.lesion_sampling import draw_bleeds
from ich_tf.phantom.basic.scanner import Defects, scan
from ich_tf.phantom.geometry import Geometry, Pose
from ich_tf.records import data_files
from tests.masks.dicom_masks import ct_slices, write_rtstruct, write_seg
from tests.masks.stacks import affine_of, write_nifti
from tests.support.conversions import slice_records_of
from tests.support.dicom_files import make_dicom
from tests.support.nifti_files import make_nifti, volume_of

pytest.importorskip("nibabel")
pytest.importorskip("highdicom")
pytestmark = pytest.mark.slow

MATRIX = 128
IPH = CLASSES.index("intraparenchymal")
_FINE = np.arange(-50.0, 72.0, 2.5)
# Places of the slices along their normal, tilt of the gantry, and thickness, mm.
SCANS = {
    "5 mm": (_FINE[::2], 0.0, 5.0),
    "5 mm, tilted": (_FINE[::2], -17.0, 5.0),
    "2.5 mm": (_FINE, 0.0, 2.5),
    "2.5 mm, tilted": (_FINE, -17.0, 2.5),
    "with a gap": (np.delete(_FINE, 22), 0.0, 2.5),
}
_TAGS = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """A scan of the head, each a patient of its own.

    Attributes:
      patient: Patient id.
      planes: Planes of the slices.
      files: Slices without pixels, as programs that draw masks see them.
      images: Bytes of the DICOM files.
      bits: Masks of the slices, uint8 [n, rows, columns].
    """

    patient: str
    planes: list[Plane]
    files: list[Dataset]
    images: list[bytes]
    bits: np.ndarray

    def slices(self) -> list[Slice]:
        """The slices, read."""
        return [slice_ for data in self.images for slice_ in read_slices(data)]


def scan_head(
    places: np.ndarray, tilt_deg: float, thickness_mm: float, matrix: int
) -> tuple[list[Plane], np.ndarray, np.ndarray]:
    """Planes, Hounsfield units and masks of a head with one irregular bleed in its brain."""
    rng = np.random.default_rng(3)
    head = make_head(rng, with_calcifications=False)
    drawn = draw_bleeds(rng, head, IPH, 60.0)
    bleeds = dataclasses.replace(drawn, intraventricular=None, subarachnoid=None, extra_axial=())
    angle = np.radians(tilt_deg)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    spacing = 230.0 / matrix
    corner = -0.5 * spacing * (matrix - 1) * (row + column)
    positions = places[:, None] * np.cross(row, column) + corner
    geometry = Geometry(spacing, (*row, *column), positions, tilt_deg)  # type: ignore[arg-type]
    planes = [
        Plane(tuple(position), (*row, *column), (spacing, spacing), matrix, matrix)
        for position in positions.tolist()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "THICKNESS_MM", thickness_mm)
        pose = Pose(np.eye(3), np.zeros(3))
        hu, bits = scan(rng, head, bleeds, pose, geometry, Defects(4.0), matrix, 0.01, -1024)
    return planes, hu, bits


@pytest.fixture(scope="module")
def scans() -> list[Scan]:
    made = []
    for number, (places, tilt_deg, thickness_mm) in enumerate(SCANS.values()):
        planes, hu, bits = scan_head(places, tilt_deg, thickness_mm, MATRIX)
        files, images = ct_slices(planes), []
        for file, image in zip(files, hu, strict=True):
            file.PatientID, file.SliceThickness = f"P{number}", str(thickness_mm)
            tags = {name: getattr(file, name) for name in _TAGS}
            images.append(make_dicom((image + 1024).astype(np.int16), tags=tags))
        made.append(Scan(f"P{number}", planes, files, images, bits))
    return made


@pytest.fixture(scope="module")
def true_ml() -> float:
    """Volume by slices of 1 mm and pixels of 1.1 mm."""
    places = np.arange(-50.0, 72.0)
    planes, _, bits = scan_head(places, 0.0, 1.0, 216)
    areas = (bits >> IPH & 1).sum(axis=(1, 2)) * np.prod(planes[0].spacing_mm)
    return float(slice_extents_mm(places) @ areas / 1000)


def png(scan: Scan, folder: Path) -> None:
    for file, mask in zip(scan.files, scan.bits, strict=True):
        cv2.imwrite(str(folder / f"{file.SOPInstanceUID}.png"), mask)


def nifti(scan: Scan, folder: Path, name: str = "") -> None:
    places = np.array([plane.position_mm for plane in scan.planes]) @ scan.planes[0].normal
    # An array has one distance between slices: a missing one is empty, and no slice takes it.
    numbers = np.rint((places - places[0]) / np.diff(places).min()).astype(int)
    values = np.zeros((numbers[-1] + 1, MATRIX, MATRIX), np.uint8)
    values[numbers] = scan.bits >> IPH & 1
    path = folder / f"{name or scan.files[0].SeriesInstanceUID}.nii.gz"
    write_nifti(path, values, _affine(scan, len(values)))


def _affine(scan: Scan, number: int) -> np.ndarray:
    affine = affine_of(scan.planes)
    affine[:3, 2] *= (len(scan.planes) - 1) / (number - 1)
    return affine


def seg(scan: Scan, folder: Path) -> None:
    marked = (scan.bits >> IPH & 1).astype(bool)[..., None]
    write_seg(folder / f"{scan.patient}.dcm", scan.files, marked, ["intraparenchymal"])


def rtstruct(scan: Scan, folder: Path) -> None:
    """Outlines as a program draws them: through the centres of the outermost pixels."""
    contours = []
    for index, plane in enumerate(scan.planes):
        # Enlarged, so that a line through centres runs along the sides of the pixels.
        mask = np.kron(scan.bits[index] >> IPH & 1, np.ones((8, 8), np.uint8))
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            columns, rows = ((outline[:, 0] + 0.5) / 8 - 0.5).T
            contours.append((index, plane.points_mm(rows, columns)))
    path = folder / f"{scan.patient}.dcm"
    write_rtstruct(path, scan.files, {"intraparenchymal": contours})


def volumes_of(folder: Path, **changes: object) -> dict[str, float]:
    """Converts `images/` with `masks/`, and sums up each series' records, by patient."""
    options = {
        "dicom_dir": str(folder / "images"),
        "masks_dir": str(folder / "masks"),
        "labels_csv": "",
        "out_dir": str(folder / "out"),
        "image_size": 64,
        "num_workers": 1,
    }
    convert(ConversionConfig(**{**options, **changes}))
    assert (folder / "out" / data_files.QUARANTINE).read_text() == ""
    series: dict[str, list] = {}
    for record in slice_records_of(folder / "out"):
        series.setdefault(record.patient_key, []).append(record)
    volumes = {}
    for patient, records in series.items():
        areas = np.array([record.lesion_mm2[IPH] for record in records])
        volumes[patient] = float(slice_extents_mm([r.z_mm for r in records]) @ areas / 1000)
    # The conversion's own sum is of the same areas and lengths.
    content = json.loads((folder / "out" / data_files.MANIFEST).read_text())
    assert content["masks"]["ml"]["intraparenchymal"] == pytest.approx(
        sum(volumes.values()), abs=0.1
    )
    return volumes


@pytest.mark.parametrize(
    ("write", "classes"),
    [(png, ""), (nifti, "1:intraparenchymal"), (seg, ""), (rtstruct, "")],
    ids=["png", "nifti", "seg", "rtstruct"],
)
def test_volumes_of_dicom_images(scans, true_ml, write, classes, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for made in scans:
        for file, data in zip(made.files, made.images, strict=True):
            (tmp_path / "images" / f"{file.SOPInstanceUID}.dcm").write_bytes(data)
        write(made, tmp_path / "masks")
    volumes = volumes_of(tmp_path, mask_classes=classes)
    assert len(volumes) == len(SCANS)
    assert true_ml > 40
    np.testing.assert_allclose(list(volumes.values()), true_ml, rtol=0.02)


def test_volumes_of_nifti_images(scans, true_ml, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    # A volume has one distance between slices.
    even = [made for made, name in zip(scans, SCANS, strict=True) if name != "with a gap"]
    for made in even:
        voxels, affine = volume_of(made.slices())
        (tmp_path / "images" / f"{made.patient}.nii.gz").write_bytes(make_nifti(voxels, affine))
        nifti(made, tmp_path / "masks", made.patient)
    volumes = volumes_of(tmp_path, mask_classes="1:intraparenchymal")
    assert len(volumes) == len(even)
    np.testing.assert_allclose(list(volumes.values()), true_ml, rtol=0.02)
