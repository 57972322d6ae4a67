import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_tf.dicom import encoding
from ich_tf.labels import ANY
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.placement import place
from ich_tf.masks.read import read_mask
from ich_tf.masks.references import read_references
from tests.masks.dicom_masks import ct_slices, write_seg
from tests.masks.stacks import inside, stack

pytest.importorskip("highdicom")

_PLANES = stack(np.arange(40.0, 101.0, 5.0), size=32, tilt_deg=-15.0)
_SLICES = ct_slices(_PLANES)
_LARGE = np.stack([inside(plane) for plane in _PLANES])
_SMALL = np.stack([inside(plane, np.array([0.0, 4.0, 60.0])) for plane in _PLANES])
_MARKED = np.stack([_LARGE, _SMALL], axis=3)
# The segments overlap, and neither has a pixel in the last slices.
assert (_LARGE & _SMALL).any() and not _MARKED[-1].any()


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_overlapping_segments_and_left_out_frames(kind: str, tmp_path: Path) -> None:
    path = write_seg(
        tmp_path / "s.dcm", _SLICES, _MARKED, ("Subdural", "Intraventricular"),
        segmentation_type=kind,
    )  # fmt: skip
    volume = read_mask(path, "auto", ClassMap(), _PLANES)
    assert len(volume.planes) < len(_PLANES)
    placed = place(volume, _PLANES[::-1])
    expected = (
        (_LARGE * np.uint8(1 << 4))
        | (_SMALL * np.uint8(1 << 2))
        | ((_LARGE | _SMALL) * np.uint8(1 << ANY))
    )
    np.testing.assert_array_equal(placed.bits[::-1], expected)
    assert placed.annotated.tolist() == [1 << 4 | 1 << 2] * len(_PLANES)


def test_label_maps(tmp_path: Path) -> None:
    labels = np.where(_SMALL, 2, _LARGE).astype(np.uint8)
    path = write_seg(
        tmp_path / "s.dcm", _SLICES, labels, ("any", "epidural"), segmentation_type="LABELMAP"
    )
    placed = place(read_mask(path, "auto", ClassMap(), _PLANES), _PLANES)
    expected = np.array([0, 32, 33], np.uint8)[labels]
    np.testing.assert_array_equal(placed.bits, expected)
    assert placed.annotated.tolist() == [33] * len(_PLANES)


def test_a_class_map_goes_by_label_or_number(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("A", "B"))
    volume = read_mask(path, "dicom_seg", ClassMap.parse("a:epidural,2:none,9:subdural"), _PLANES)
    placed = place(volume, _PLANES)
    np.testing.assert_array_equal(placed.bits, _LARGE * np.uint8(1 | 1 << ANY))
    assert placed.annotated[0] == 1 | 1 << 4
    with pytest.raises(MaskError, match="segment 1") as error:
        read_mask(path, "dicom_seg", ClassMap(), _PLANES)
    assert error.value.reason is MaskReason.MASK_CLASS


def test_it_refers_to_its_slices(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("subdural", "any"))
    references = read_references(path)
    image_ids = {slice_.SOPInstanceUID for slice_ in _SLICES}
    series = _SLICES[0].SeriesInstanceUID
    assert references.series_ids == {series}
    assert references.instance_ids == image_ids
    assert references.frame_of_reference == _SLICES[0].FrameOfReferenceUID
    references.check("P1", series, image_ids)
    for patient_id, other in (("P2", image_ids), ("P1", {"1.2.3", "1.2.4/1"})):
        with pytest.raises(MaskError, match="refers to") as error:
            references.check(patient_id, series, other)
        assert error.value.reason is MaskReason.MASK_OTHER_SERIES


def _without_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[0]


def _without_position(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def _of_another_segment(dataset: Dataset) -> None:
    group = dataset.PerFrameFunctionalGroupsSequence[0]
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7


def _turned(dataset: Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


def _ct(dataset: Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def _described_twice(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 1


def _twice_in_one_place(dataset: Dataset) -> None:
    first, second, *_ = dataset.PerFrameFunctionalGroupsSequence
    second.PlanePositionSequence = first.PlanePositionSequence
    second.SegmentIdentificationSequence = first.SegmentIdentificationSequence


def _with_a_word_for_a_number(dataset: Dataset) -> None:
    place = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    tag = Tag("ImagePositionPatient")
    place[tag] = RawDataElement(tag, "DS", 10, b"left\\0\\40 ", 0, False, True)


def _without_rows(dataset: Dataset) -> None:
    del dataset.Rows


def _without_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


def _of_colours(dataset: Dataset) -> None:
    dataset.SamplesPerPixel = 3


@pytest.mark.parametrize(
    ("change", "reason", "match"),
    [
        (_described_twice, "MASK_FORMAT", "segment 1 twice"),
        (_twice_in_one_place, "MASK_GEOMETRY", "two frames of segment"),
        (_with_a_word_for_a_number, "MASK_GEOMETRY", "values that are none"),
        (_without_rows, "MASK_FORMAT", "element Rows"),
        (_without_pixels, "MASK_FORMAT", "no pixel data"),
        (_of_colours, "MASK_FORMAT", "3 samples a pixel"),
        (_without_groups, "MASK_FORMAT", "describes"),
        (_without_position, "MASK_GEOMETRY", "without segment number, position"),
        (_of_another_segment, "MASK_FORMAT", "segment 7"),
        (_turned, "MASK_GEOMETRY", "orientation"),
        (_ct, "MASK_FORMAT", "no segmentation and no structure set"),
    ],
)
def test_damaged_ones_have_a_reason(
    change: Callable[[Dataset], None], reason: str, match: str, tmp_path: Path
) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("subdural", "any"), change)
    _refused(path, reason, match)


def test_fractions_and_cut_files_have_a_reason(tmp_path: Path) -> None:
    path = write_seg(
        tmp_path / "s.dcm", _SLICES, _MARKED * 0.4, ("subdural", "any"),
        segmentation_type="FRACTIONAL", fractional_type="PROBABILITY",
    )  # fmt: skip
    _refused(path, "MASK_FORMAT", "fractions")
    path.write_bytes(path.read_bytes()[:-3000])
    _refused(path, "MASK_UNREADABLE", "its header announces")


def test_a_deflated_one_is_inflated_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("subdural", "any"))
    plain = read_mask(path, "auto", ClassMap(), _PLANES)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    data = path.read_bytes()
    np.testing.assert_array_equal(read_mask(path, "auto", ClassMap(), _PLANES).bits, plain.bits)
    path.write_bytes(data[:-40])
    _refused(path, "MASK_UNREADABLE", "is cut")
    # A private element of 8 MiB of zeros, deflated to some kilobytes.
    monkeypatch.setattr(encoding, "MAX_INFLATED_BYTES", 4 * 2**20)
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 8 * 2**20)
    parts = [data[:start], packer.compress(zlib.decompress(data[start:], -zlib.MAX_WBITS) + header)]
    parts += [packer.compress(bytes(2**20)) for _ in range(8)]
    path.write_bytes(b"".join((*parts, packer.flush())))
    with pytest.raises(MaskError, match="inflates to more than 4 MiB"):
        read_references(path)


def test_one_without_a_preamble_is_read(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("subdural", "any"))
    plain = read_mask(path, "auto", ClassMap(), _PLANES)
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_mask(path, "auto", ClassMap(), _PLANES).bits, plain.bits)
    path.write_bytes(b"Sehr geehrte Damen und Herren")
    with pytest.raises(MaskError, match="is no DICOM file") as error:
        read_mask(path, "dicom_seg", ClassMap(), _PLANES)
    assert error.value.reason is MaskReason.MASK_FORMAT


def test_one_of_other_slices_is_misaligned(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "s.dcm", _SLICES, _MARKED, ("subdural", "any"))
    volume = read_mask(path, "auto", ClassMap(), _PLANES)
    with pytest.raises(MaskError, match="of them at slices") as error:
        place(volume, stack(np.arange(160.0, 221.0, 5.0), size=32, tilt_deg=-15.0))
    assert error.value.reason is MaskReason.MASK_MISALIGNED


def _refused(path: Path, reason: str, match: str) -> None:
    with pytest.raises(MaskError, match=match) as error:
        read_mask(path, "auto", ClassMap(), _PLANES)
    assert error.value.reason is MaskReason[reason]
