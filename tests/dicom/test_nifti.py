import gzip
import itertools
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.dicom import nifti_content
from ich_tf.dicom.header_scan import ScannedHeader, scan_file
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reasons import DicomError, Reason, Rejection, Repair
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.placement import place
from ich_tf.masks.planes import Plane
from ich_tf.masks.read import read_mask
from tests.support.nifti_files import make_nifti, reader_of

pytest.importorskip("nibabel")

ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
# Columns, rows, slices, all different; air, and values that no two voxels share.
VOXELS = (np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4) * 3 - 300).astype(np.int16)
VOXELS[0, 0, 0] = -1000
# To RAS: columns to the left, rows to the back, slices up.
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.6, 0, 30], [0, 0, 5, -40], [0, 0, 0, 1.0]])


def tilted(degrees: float, shear: bool) -> np.ndarray:
    """`AFFINE` with its slices tilted, and stacked along the body axis or their normal."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = AFFINE.copy()
    affine[1:3, 1] = -0.6 * c, 0.6 * s
    affine[1:3, 2] = (0, 5) if shear else (5 * s, 5 * c)
    return affine


def read(data: bytes, name: str = "case.nii.gz") -> tuple[list[Any], list[np.ndarray]]:
    """Headers and images, from the lowest slice on."""
    file = reader_of(data, name)
    headers, errors = file.scan()
    assert not errors
    slices = sorted(map(file.slice, file.numbers), key=lambda one: one.header.position_mm[2])
    assert {slice_.header for slice_ in slices} == set(headers)
    return [slice_.header for slice_ in slices], [slice_.hu for slice_ in slices]


def reason_of(data: bytes) -> Reason:
    with pytest.raises(DicomError) as caught:
        file = reader_of(data)
        file.scan()
        for frame in file.numbers:
            file.slice(frame)
    assert "Traceback" not in str(caught.value) and str(caught.value)[-1] in ".)"
    return caught.value.reason


@pytest.mark.parametrize("affine", [AFFINE, tilted(-20, False), tilted(18, True)])
def test_every_storage_order_gives_the_same_axial_slices(affine: np.ndarray) -> None:
    headers, images = read(make_nifti(VOXELS, affine))
    for number, (header, image) in enumerate(zip(headers, images, strict=True)):
        np.testing.assert_array_equal(image, VOXELS[:, :, number].T)
        assert (header.rows, header.columns, header.spacing_mm) == (5, 6, (0.6, 0.5))
        expected = affine @ (0, 0, number, 1) * (-1, -1, 1, 1)
        np.testing.assert_allclose(header.position_mm, expected[:3], atol=1e-4)
        np.testing.assert_allclose(header.orientation[:3], (1, 0, 0), atol=1e-6)
        down = affine[:3, 1] / 0.6 * (-1, -1, 1)
        np.testing.assert_allclose(header.orientation[3:], down, atol=1e-6)
    for order in ORDERS:
        others, same = read(make_nifti(VOXELS, affine, stored_as=order, packed=False))
        np.testing.assert_array_equal(same, images)
        for one, other in zip(headers, others, strict=True):
            np.testing.assert_allclose(one.position_mm, other.position_mm, atol=2e-4)
            assert (one.orientation, one.spacing_mm) == (other.orientation, other.spacing_mm)


def test_ids_are_the_names_of_file_and_folder() -> None:
    headers, _ = read(make_nifti(VOXELS, AFFINE), "a/case 1.nii.gz")
    assert [header.image_id for header in headers] == [f"a_case 1/{i}" for i in (1, 2, 3, 4)]
    assert {(h.patient_id, h.study_id, h.series_id) for h in headers} == {
        ("case 1", "a_case 1", "a_case 1")
    }


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", [">i2", "<u2", "<i4", "<f4", ">f8", "<i1"])
def test_types_byte_orders_and_scales(kind: str, version: int) -> None:
    stored = np.arange(6 * 5 * 4).reshape(6, 5, 4).astype(kind)

    def scale(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 2.5, -1024

    _, images = read(make_nifti(stored, AFFINE, version=version, change=scale))
    np.testing.assert_array_equal(images[2], stored[:, :, 2].T * 2.5 - 1024)


def test_qform_metres_and_a_fourth_axis_of_one() -> None:
    def change(header: Any) -> None:
        matrix = AFFINE.copy()
        matrix[:3] /= 1000
        header.set_qform(matrix, 1)
        header["sform_code"] = 0
        header["xyzt_units"] = 1

    headers, images = read(make_nifti(VOXELS[..., None], AFFINE, change=change))
    np.testing.assert_allclose(headers[1].position_mm, (-20, -30, -35), atol=1e-3)
    np.testing.assert_allclose(headers[1].spacing_mm, (0.6, 0.5), atol=1e-6)
    np.testing.assert_array_equal(images[1], VOXELS[:, :, 1].T)


def field(name: str, value: Any) -> Callable[[Any], None]:
    def change(header: Any) -> None:
        header[name] = value

    return change


def affine_of(**rows: Any) -> Callable[[Any], None]:
    def change(header: Any) -> None:
        for name, row in rows.items():
            header[f"srow_{name}"] = row

    return change


SHEARED, ASIDE = AFFINE.copy(), AFFINE.copy()
SHEARED[0, 1] = 0.2
ASIDE[0, 2] = 1.5  # each slice to the side of the one below


@pytest.mark.parametrize(
    ("voxels", "affine", "change", "reason"),
    [
        (np.stack([VOXELS, VOXELS], -1), AFFINE, None, Reason.MULTI_FRAME),
        (VOXELS.astype(np.complex64), AFFINE, None, Reason.NOT_HOUNSFIELD),
        (
            np.zeros((6, 5, 4), [(c, "u1") for c in "RGB"]),
            AFFINE,
            None,
            Reason.PHOTOMETRIC,
        ),
        (VOXELS + np.int16(1400), AFFINE, None, Reason.NOT_HOUNSFIELD),  # the intercept is lost
        (np.where(VOXELS < -200, -2000, VOXELS + 1024), AFFINE, None, Reason.NOT_HOUNSFIELD),
        ((VOXELS % 256).astype(np.uint8), AFFINE, None, Reason.NOT_HOUNSFIELD),
        (VOXELS / np.float32(300), AFFINE, None, Reason.NOT_HOUNSFIELD),
        (VOXELS * np.float32(np.nan), AFFINE, None, Reason.HU_IMPLAUSIBLE),
        (np.where(VOXELS == 0, np.nan, VOXELS), AFFINE, None, Reason.HU_IMPLAUSIBLE),
        (np.where(VOXELS == 0, 1e300, VOXELS), AFFINE, None, Reason.HU_IMPLAUSIBLE),
        (np.full_like(VOXELS, -1000), AFFINE, None, Reason.HU_IMPLAUSIBLE),
        (VOXELS, SHEARED, None, Reason.BAD_GEOMETRY),
        (VOXELS, ASIDE, None, Reason.BAD_GEOMETRY),
        (VOXELS, tilted(44, True), None, Reason.BAD_GEOMETRY),
        (VOXELS, tilted(55, False), None, Reason.NOT_AXIAL),
        (VOXELS, AFFINE[[0, 2, 1, 3]], None, Reason.NOT_AXIAL),  # coronal, 5 mm thick
        (VOXELS[:, :, :1], np.diag((0.5, 0.5, 0.5, 1))[[0, 2, 1, 3]], None, Reason.NOT_AXIAL),
        (VOXELS, AFFINE, affine_of(x=(np.nan, 0, 0, 0)), Reason.BAD_GEOMETRY),
        (VOXELS, AFFINE, affine_of(x=(0, 0, 0, 0)), Reason.BAD_GEOMETRY),
        (VOXELS, AFFINE, affine_of(x=(0, -0.6, 0, 0), y=(0, -0.6, 0, 0)), Reason.BAD_GEOMETRY),
        (VOXELS, AFFINE, affine_of(z=(0, 0, 5, 2e5)), Reason.BAD_GEOMETRY),
        (VOXELS, AFFINE, field("sform_code", 0), Reason.BAD_GEOMETRY),
        (VOXELS, AFFINE, field("scl_slope", -1), Reason.BAD_RESCALE),
        (VOXELS, AFFINE, field("datatype", 999), Reason.BAD_HEADER),
        (VOXELS, AFFINE, field("dim", [3, 6, -5, 4, 1, 1, 1, 1]), Reason.BAD_HEADER),
        (VOXELS, AFFINE, field("dim", [3, 6, 5, 9, 1, 1, 1, 1]), Reason.TRUNCATED_PIXELS),
        (VOXELS, AFFINE, field("dim", [3, 6, 5, 3, 1, 1, 1, 1]), Reason.BAD_HEADER),
        (VOXELS, AFFINE, field("dim", [3, 6, 5, 2001, 1, 1, 1, 1]), Reason.TOO_LARGE),
        (VOXELS, AFFINE, field("dim", [3, 4096, 4096, 2000, 1, 1, 1, 1]), Reason.TOO_LARGE),
        (VOXELS, AFFINE, field("vox_offset", np.nan), Reason.BAD_HEADER),
        (VOXELS, AFFINE, field("magic", b"ni1"), Reason.BAD_HEADER),
        (VOXELS, AFFINE, field("magic", b"abc"), Reason.NOT_DICOM),
    ],
)
def test_what_is_no_axial_volume_in_hounsfield_units_has_a_reason(
    voxels: np.ndarray, affine: np.ndarray, change: Any, reason: Reason
) -> None:
    if voxels.dtype == np.int64:
        voxels = voxels.astype(np.int32)
    assert reason_of(make_nifti(voxels, affine, change=change)) is reason


def test_one_slice_without_numbers_leaves_the_others() -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[2, 2, 1] = np.nan
    file = reader_of(make_nifti(voxels, AFFINE))
    with pytest.raises(DicomError, match="1 of its 30 pixels are no numbers"):
        file.slice(2)
    np.testing.assert_array_equal(file.slice(3).hu, VOXELS[:, :, 2].T)


def test_packed_data_that_are_damaged_cut_or_too_many() -> None:
    plain = make_nifti(VOXELS, AFFINE, packed=False)
    data = gzip.compress(plain)
    assert reason_of(b"") is Reason.NOT_DICOM
    assert reason_of(gzip.compress(b"")) is Reason.NOT_DICOM
    assert reason_of(plain[:200]) is Reason.NOT_DICOM
    assert reason_of(plain[:-1]) is Reason.TRUNCATED_PIXELS
    assert reason_of(data[:-4]) is Reason.BAD_ARCHIVE
    assert reason_of(data[:-8] + bytes(8)) is Reason.BAD_ARCHIVE  # another checksum
    assert reason_of(plain + bytes(60)) is Reason.BAD_HEADER
    more = reader_of(plain + bytes(2)).slice(1)
    assert more.repairs == (Repair.PADDING_EXCESS,)
    # Packed in two pieces, as by parallel gzip; zeros behind, as of a tape.
    for other in (gzip.compress(plain[:400]) + gzip.compress(plain[400:]), data + bytes(99)):
        np.testing.assert_array_equal(reader_of(other).slice(1).hu, VOXELS[:, :, 0].T)


def test_what_a_file_inflates_to_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_nifti(VOXELS, AFFINE, packed=False)
    bomb = gzip.compress(plain + bytes(64 * 2**20))
    tracemalloc.start()
    assert reason_of(bomb) is Reason.BAD_HEADER
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    monkeypatch.setattr(nifti_content, "MAX_VOLUME_BYTES", 200)
    assert reason_of(plain) is Reason.TOO_LARGE


def test_no_damage_ends_in_anything_but_a_reason() -> None:
    rng = np.random.default_rng(0)
    good = {
        version: make_nifti(VOXELS.astype(np.float32), AFFINE, version=version, packed=False)
        for version in (1, 2)
    }
    reasons = set()
    for number in range(400):
        data = bytearray(good[1 + number % 2])
        for _ in range(rng.integers(1, 4)):
            # The header, mostly: what is wrong with a voxel cannot be seen.
            data[rng.integers(352)] = rng.integers(256)
        if number % 5 == 0:
            data = data[: rng.integers(len(data))]
        packed = bytearray(gzip.compress(bytes(data), 1, mtime=0))
        if number % 7 == 0:
            packed[rng.integers(len(packed))] ^= 1 << rng.integers(8)
        try:
            file = reader_of(bytes(packed))
            for frame in file.scan()[0]:
                file.slice(frame.frame)
        except DicomError as error:
            reasons.add(error.reason)
    assert len(reasons) > 5


def test_a_mask_beside_the_volume_falls_on_its_pixels(tmp_path: Path) -> None:
    affine = tilted(-15, False)
    mask = (VOXELS % 21 == 0).astype(np.uint8)
    (tmp_path / "mask.nii.gz").write_bytes(make_nifti(mask, affine))
    volume = read_mask(tmp_path / "mask.nii.gz", "nifti", ClassMap.parse("1:subdural"), [])
    for order in ORDERS[::7]:
        headers, images = read(make_nifti(VOXELS, affine, stored_as=order))
        placed = place(volume, [Plane.of(header) for header in headers])
        assert placed.annotated.tolist() == [16] * 4
        for bits, image in zip(placed.bits, images, strict=True):
            np.testing.assert_array_equal(bits > 0, image % 21 == 0)


def test_folders_archives_and_single_files(tmp_path: Path) -> None:
    data = make_nifti(VOXELS, AFFINE)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "case.nii.gz").write_bytes(data)
    (folder / "mask.nii.gz").write_bytes(make_nifti((VOXELS > 0).astype(np.uint8), AFFINE))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("set/case.nii.gz", data)
    found = []
    for path in (folder, tmp_path / "in.zip", folder / "case.nii.gz"):
        for source in list_sources(path).sources:
            entries = scan_file(source)
            if source.stem == "mask":
                (line,) = entries
                assert isinstance(line, Rejection)
                assert (line.path, line.reason) == ("mask.nii.gz", "NOT_HOUNSFIELD")
                continue
            assert all(isinstance(entry, ScannedHeader) for entry in entries)
            with SourceReader() as reader:
                found.append([reader.slice(source, frame).hu for frame in (4, 1)])
                assert len(reader.sha256) == 64
    np.testing.assert_array_equal(found, [[VOXELS[:, :, 3].T, VOXELS[:, :, 0].T]] * 3)


def test_a_damaged_member_of_an_archive_is_told_as_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("case.nii", make_nifti(VOXELS, AFFINE, packed=False))
    whole = (tmp_path / "in.zip").read_bytes()
    at = whole.index(VOXELS.tobytes("F"))
    (tmp_path / "in.zip").write_bytes(whole[:at] + b"??" + whole[at + 2 :])
    (source,) = list_sources(tmp_path / "in.zip").sources
    (line,) = scan_file(source)
    assert isinstance(line, Rejection) and line.reason == "BAD_ARCHIVE"


def test_without_nibabel_the_file_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "case.nii").write_bytes(make_nifti(VOXELS, AFFINE, packed=False))
    monkeypatch.setitem(sys.modules, "nibabel.nifti1", None)
    (line,) = scan_file(Source(tmp_path, "case.nii"))
    assert isinstance(line, Rejection)
    assert line.is_of_machine and "pip install 'ich-tf[masks]'" in line.message


def test_dicom_files_are_read_without_nibabel() -> None:
    code = (
        "import sys; from ich_tf.dicom import header_scan, source_reader, listing;"
        "sys.exit('nibabel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
