"""Masks as NIfTI and DICOM SEG, read back by libraries and tools that are not ours."""

import gzip
import io
import re
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_headers
from ich_tf.errors import InputError
from ich_tf.inference.masks.dicom_seg import dicom_seg
from ich_tf.inference.masks.grids import make_grid
from ich_tf.inference.masks.nifti import nifti_masks
from ich_tf.inference.masks.volumes import series_volumes
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.placement import place
from ich_tf.masks.planes import Plane
from ich_tf.masks.read import read_mask
from ich_tf.reporting.identity import SourceFile
from ich_tf.reporting.uids import ResultUids
from tests.support.dicom_files import make_dicom, make_enhanced, rewrite
from tests.support.findings import made_findings
from tests.support.slices import CENTER_MM, ellipsoid_bits, made_headers

RADII = (20.0, 15.0, 24.0)
ML = 4 / 3 * np.pi * np.prod(RADII) / 1000
EVERY_5 = np.arange(2.0, 80, 5)
UIDS = {"1.2.840.10008.5.1.4.1.1.2": "CT", "1.2.840.10008.5.1.4.1.1.66.4": "SEG"}


def series(places: Sequence[float] = EVERY_5, **options) -> tuple[list[Header], list[np.ndarray]]:
    """A series with a bleed that is intraparenchymal, and intraventricular in its upper half."""
    headers = made_headers(places, **options)
    bits = [
        mask | np.where((mask > 0) & (header.position_mm[2] > 40), 4, 0).astype(np.uint8)
        for mask, header in zip(ellipsoid_bits(headers, RADII), headers, strict=True)
    ]
    return headers, bits


def files_of(headers: Sequence[Header]) -> list[pydicom.Dataset]:
    """The DICOM files of headers."""
    return [
        pydicom.dcmread(
            io.BytesIO(
                make_dicom(
                    np.zeros((header.rows, header.columns), np.int16),
                    tags={
                        "SOPInstanceUID": header.image_id,
                        "SeriesInstanceUID": header.series_id,
                        "StudyInstanceUID": header.study_id,
                        "StudyDate": "20260102",
                        "FrameOfReferenceUID": "1.2.826.0.9",
                    },
                )
            )
        )
        for header in headers
    ]


def segmented(
    bits: Sequence[np.ndarray],
    headers: Sequence[Header],
    files: Sequence[pydicom.Dataset],
    **changes: Any,
) -> bytes:
    """The segmentation of masks in files."""
    sources = []
    for file in files:
        buffer = io.BytesIO()
        file.save_as(buffer)
        sources.append(SourceFile(buffer))
    images = [source.image(header) for source, header in zip(sources, headers, strict=True)]
    findings = made_findings([], study=sources[0].study(headers[0]), images=images, **changes)
    return dicom_seg(bits, headers, findings)


# NIfTI


@pytest.mark.parametrize(
    ("places", "options", "num_planes"),
    [
        (EVERY_5, {}, 16),
        (EVERY_5, {"tilt_deg": 20.0, "sheared": False}, 16),
        (EVERY_5, {"tilt_deg": 20.0}, 16),
        (np.delete(EVERY_5, 8), {}, 16),
        (np.concatenate([np.arange(2.0, 39, 4), np.arange(42.0, 80, 7)]), {}, 76),
        (np.concatenate([np.arange(2.0, 39, 4), np.arange(42.3, 80, 7)]), {}, 95),
    ],
)
def test_nifti_lies_where_the_bleed_is(places, options, num_planes: int) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra masks is not installed")
    headers, bits = series(places, **options)
    files = nifti_masks(bits, headers)
    assert list(files) == list(CLASSES)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(files["any"]))
    mask = np.asarray(image.dataobj)
    assert mask.dtype == np.uint8 and mask.shape[2] == num_planes
    voxel = np.abs(np.linalg.det(image.affine))
    assert mask.sum() * voxel / 1000 == pytest.approx(ML, rel=0.025)
    # RAS against DICOM's LPS.
    centre = nibabel.affines.apply_affine(image.affine, np.argwhere(mask)).mean(axis=0)
    assert np.abs(centre * (-1, -1, 1) - CENTER_MM).max() < 0.75
    # At right angles, which ITK asks for; code and unit as viewers read them.
    axes = image.affine[:3, :3] / nibabel.affines.voxel_sizes(image.affine)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    assert image.get_sform(coded=True)[1] == 1 and image.header.get_xyzt_units()[0] == "mm"
    empty = nibabel.Nifti1Image.from_bytes(gzip.decompress(files["subdural"]))
    assert not np.asarray(empty.dataobj).any() and empty.shape == image.shape
    assert nifti_masks(bits, headers) == files


def test_slices_of_a_grid_are_its_planes_as_they_are() -> None:
    """In whatever order they come, and mirrored along the body."""
    headers, bits = series()
    for order in (slice(None), slice(None, None, -1)):
        grid = make_grid(headers[order])
        np.testing.assert_array_equal(grid.filled(bits[order]), np.stack(bits, axis=-1))
        np.testing.assert_allclose(grid.origin_mm, headers[0].position_mm)
        np.testing.assert_allclose(grid.axes_mm, [[0, 1, 0], [1, 0, 0], [0, 0, 5]])
    one = make_grid(headers[:1])
    assert one.shape == (64, 64, 1)


def test_slices_of_two_sizes_are_refused() -> None:
    headers = [*made_headers([0.0]), *made_headers([5.0], spacing_mm=0.5)]
    with pytest.raises(InputError, match=r"differ in size.*--masks=png"):
        make_grid(headers)


# DICOM SEG


@pytest.fixture(scope="module")
def tilted() -> tuple[list[Header], list[np.ndarray], bytes]:
    """A tilted series with a gap, and its segmentation."""
    pytest.importorskip("highdicom", reason="the extra masks is not installed")
    headers, bits = series(np.delete(EVERY_5, 8), tilt_deg=20.0)
    return headers, bits, segmented(bits, headers, files_of(headers))


def test_each_frame_has_the_plane_of_its_slice(tilted) -> None:
    headers, bits, data = tilted
    seg = pydicom.dcmread(io.BytesIO(data))
    assert UIDS[seg.SOPClassUID] == "SEG" and seg.Modality == "SEG"
    assert seg.SegmentationType == "BINARY" and seg.SegmentsOverlap == "YES"
    first = files_of(headers[:1])[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == first[keyword].value
    assert [each.SegmentLabel for each in seg.SegmentSequence] == [
        "intraparenchymal", "intraventricular", "any",
    ]  # fmt: skip
    shared = seg.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, headers[0].orientation
    )
    by_image = {header.image_id: k for k, header in enumerate(headers)}
    classes = {number: CLASSES.index(name) for number, name in ((1, "intraparenchymal"),
               (2, "intraventricular"), (3, "any"))}  # fmt: skip
    frames = seg.pixel_array
    seen = np.zeros(len(headers), np.int64)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = by_image[source.ReferencedSOPInstanceUID]
        np.testing.assert_allclose(
            group.PlanePositionSequence[0].ImagePositionPatient, headers[k].position_mm
        )
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(frame, bits[k] >> classes[number] & 1)
        seen[k] |= 1 << classes[number]
    # No frame without a mark, and none is missing.
    np.testing.assert_array_equal(seen, [np.bitwise_or.reduce(mask, axis=None) for mask in bits])
    indices = [
        tuple(group.FrameContentSequence[0].DimensionIndexValues)
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(indices)) == len(frames) and len(indices[0]) == len(seg.DimensionIndexSequence)


def test_codes_are_those_of_snomed(tilted) -> None:
    segments = pydicom.dcmread(io.BytesIO(tilted[2])).SegmentSequence
    for segment in segments:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        category = segment.SegmentedPropertyCategoryCodeSequence[0]
        assert kind.CodingSchemeDesignator == category.CodingSchemeDesignator == "SCT"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segments[2].SegmentedPropertyTypeCodeSequence[0].CodeValue == "1386000"
    assert segments[1].AnatomicRegionSequence[0].CodeMeaning == "Brain ventricle"


def test_highdicom_reads_the_masks(tilted) -> None:
    import highdicom

    headers, bits, data = tilted
    seg = highdicom.seg.segread(io.BytesIO(data))
    ids = [header.image_id for header in headers]
    read = seg.get_pixels_by_source_instance(ids, segment_numbers=[1, 2, 3])
    expected = np.stack([np.stack([mask >> k & 1 for k in (1, 2, 5)], axis=-1) for mask in bits])
    np.testing.assert_array_equal(read, expected)


def test_the_same_images_and_model_give_the_same_bytes(tilted) -> None:
    headers, bits, data = tilted
    assert segmented(bits, headers, files_of(headers)) == data
    uids = ResultUids("another model")
    first, other = (
        pydicom.dcmread(io.BytesIO(each))
        for each in (data, segmented(bits, headers, files_of(headers), uids=uids))
    )
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert other.SeriesInstanceUID != first.SeriesInstanceUID


def test_a_series_without_a_bleed_says_so(tilted) -> None:
    headers, bits, _ = tilted
    empty = [np.zeros_like(mask) for mask in bits]
    seg = pydicom.dcmread(io.BytesIO(segmented(empty, headers, files_of(headers))))
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["any"]
    assert seg.pixel_array.shape == (15, 64, 64) and not seg.pixel_array.any()


def test_names_are_not_in_warnings(tilted) -> None:
    headers, bits, _ = tilted
    files = files_of(headers)
    for file in files:
        file.PatientName = "SECRET"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = segmented(bits, headers, files)
    assert pydicom.dcmread(io.BytesIO(data)).PatientName == "SECRET"


def test_copies_of_an_image_have_one_frame(tilted) -> None:
    headers, bits, _ = tilted
    copy = replace(headers[7], image_id=f"{headers[7].image_id}.1")
    more = [*headers[:8], copy, *headers[8:]]
    masks = [*bits[:8], np.roll(bits[7], 1, axis=1), *bits[8:]]
    seg = pydicom.dcmread(io.BytesIO(segmented(masks, more, files_of(more))))
    alone = [*bits[:7], bits[7] | masks[8], *bits[8:]]
    other = pydicom.dcmread(io.BytesIO(segmented(alone, headers, files_of(headers))))
    np.testing.assert_array_equal(seg.pixel_array, other.pixel_array)


def test_files_that_highdicom_refuses_are_refused_in_a_sentence(tilted, monkeypatch) -> None:
    headers, bits, _ = tilted
    files = files_of(headers)

    def refuse(**_) -> None:
        raise ValueError("MRN-4711")

    monkeypatch.setattr("highdicom.seg.Segmentation", refuse)
    with pytest.raises(InputError, match=r"cannot be referred to.*ValueError.*Write PNG") as caught:
        segmented(bits, headers, files)
    assert "4711" not in str(caught.value)
    files[3].FrameOfReferenceUID = "1.2.826.0.8"
    with pytest.raises(InputError, match=r"in several frames of reference.*Write PNG"):
        segmented(bits, headers, files)


@pytest.mark.parametrize("end", ["1", "2"], ids=["enhanced", "converted"])
def test_frames_of_a_multi_frame_file_are_referred_to_by_number(end: str) -> None:
    pytest.importorskip("highdicom", reason="the extra masks is not installed")
    data = make_enhanced(np.zeros((4, 32, 32), np.int16))
    data = rewrite(data, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.2.{end}")
    headers = list(read_headers(io.BytesIO(data)))
    bits = [np.full((32, 32), 0b100001 * (k > 1), np.uint8) for k in range(4)]
    file = pydicom.dcmread(io.BytesIO(data))
    seg = pydicom.dcmread(io.BytesIO(segmented(bits, headers, [file] * 4)))
    (images,) = [each.ReferencedInstanceSequence for each in seg.ReferencedSeriesSequence]
    assert [image.ReferencedSOPInstanceUID for image in images] == [file.SOPInstanceUID]
    assert images[0].ReferencedSOPClassUID == file.SOPClassUID
    numbers = []
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == file.SOPInstanceUID
        assert source.ReferencedSOPClassUID == file.SOPClassUID
        numbers.append(int(source.ReferencedFrameNumber))
        # The frames of the file lie 5 mm apart, from 0 on.
        z_mm = group.PlanePositionSequence[0].ImagePositionPatient[2]
        assert z_mm == 5 * (numbers[-1] - 1)
    assert sorted(numbers) == [3, 3, 4, 4]


def test_other_tools_find_no_error(tilted, tmp_path: Path) -> None:
    """dciodvfy (dicom3tools) compares a file with the standard; dcmdump reads each value."""
    headers, bits, data = tilted
    empty = [np.zeros_like(mask) for mask in bits]
    files = {
        "bleed": data,
        "none": segmented(empty, headers, files_of(headers)),
    }
    commands = {"dciodvfy": ["dciodvfy", "-new"], "dcmdump": ["dcmdump"]}
    found = [name for name in commands if shutil.which(name)]
    if not found:
        pytest.skip("neither dicom3tools nor dcmtk is installed")
    for name, content in files.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        for command in found:
            done = subprocess.run(
                [*commands[command], str(path)],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert not re.search("^(Error|E:)", done.stderr, re.MULTILINE), done.stderr


def test_volumes_are_those_of_the_segmentation(tilted) -> None:
    headers, bits, _ = tilted
    volumes = series_volumes(bits, headers)
    assert volumes.ml[ANY] == pytest.approx(ML, rel=0.02)


# Back as masks of a conversion


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_a_conversion_reads_what_a_prediction_wrote(tilt_deg: float, tmp_path: Path) -> None:
    pytest.importorskip("nibabel", reason="the extra masks is not installed")
    headers, bits = series(tilt_deg=tilt_deg)
    planes = [Plane.of(header) for header in headers]
    path = tmp_path / "bleeds.dcm"
    path.write_bytes(segmented(bits, headers, files_of(headers)))
    placed = place(read_mask(path, "auto", ClassMap.parse(""), planes), planes)
    np.testing.assert_array_equal(placed.bits, np.stack(bits))
    path = tmp_path / "series_intraparenchymal.nii.gz"
    path.write_bytes(nifti_masks(bits, headers)["intraparenchymal"])
    placed = place(read_mask(path, "auto", ClassMap.parse("1:intraparenchymal"), planes), planes)
    found = (placed.bits >> CLASSES.index("intraparenchymal") & 1) > 0
    expected = np.stack(bits) & 2 > 0
    # On a tilted series pixels move by half at most, without tilt not at all.
    wrong = np.count_nonzero(found != expected) / np.count_nonzero(expected)
    assert wrong < (0.06 if tilt_deg else 1e-9)
