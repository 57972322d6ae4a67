"""Data elements are those that pydicom reads, of plain files and of odd ones."""

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from ich_tf.dicom import data_set, parser
from ich_tf.dicom.content import Content
from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.elements import tag_of
from ich_tf.dicom.reader import read_headers, read_slice
from ich_tf.dicom.reasons import DicomError, Reason, Repair
from tests.support.dicom_files import make_dicom, make_enhanced, rewrite
from tools.fuzzing.seeds import good_files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
STORED = np.arange(64 * 48, dtype=np.int16).reshape(64, 48) - 500
META = 132
CUT = (Reason.BAD_HEADER, Reason.NO_PIXELS, Reason.TRUNCATED_PIXELS)


def parse(data: bytes) -> DataSet:
    return parser.parse(Content(data))


def reason_of(data: bytes) -> Reason:
    with pytest.raises(DicomError) as caught:
        read_slice(data)
    return caught.value.reason


def assert_as_pydicom(data: bytes) -> None:
    ours, theirs = parse(data), pydicom.dcmread(io.BytesIO(data))
    wanted = {tag for tag in parser.TAGS if tag in theirs}
    assert set(ours.elements) == wanted
    for tag in wanted:
        raw = theirs.get_item(tag).value
        if isinstance(raw, bytes):  # a sequence is parsed at once
            assert bytes(ours.elements[tag].value) == raw, hex(tag)
    # A file that is read in parts gives the same.
    on_disk = parser.parse(Content(io.BytesIO(data)))
    assert on_disk.elements == ours.elements and on_disk.pixel_data == ours.pixel_data


def test_elements_are_pydicoms() -> None:
    for name, data in good_files().items():
        if "no " not in name and "deflated" not in name:  # pydicom reads these to other offsets
            assert_as_pydicom(data)


def test_elements_of_real_files_are_pydicoms(real_dicom: Path) -> None:
    files = [path for path in sorted(real_dicom.rglob("*")) if path.is_file()]
    read = 0
    for path in files:
        data = path.read_bytes()
        if path.suffix != ".txt" and not path.name.startswith("DIR") and b"1.99\0" not in data:
            assert_as_pydicom(data)
            read += 1
    assert read > 30


def at_of(data: bytes, group: int, element: int) -> int:
    return data.index(struct.pack("<HH", group, element))


def test_odd_files_are_read_as_they_are_meant() -> None:
    good = make_dicom(STORED)
    hu = read_slice(good).hu
    rows = at_of(good, 0x0028, 0x0010)
    pixels = at_of(good, 0x7FE0, 0x0010)
    undefined = b"\xff\xff\xff\xff"
    item, item_end, end = (
        struct.pack("<HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD)
    )
    private = struct.pack("<HH", 0x0029, 0x1010)
    inner = struct.pack("<HH2sH", 0x7FE0, 0x0010, b"US", 2) + b"\7\0"
    open_item = item + undefined + inner + item_end + bytes(4)
    implicit = struct.pack("<HHL", 0x0029, 0x1011, 4) + b"abcd"
    cases = {
        "an element out of order": good[:rows] + good[rows + 10 : rows + 20]
        + good[rows : rows + 10] + good[rows + 20 :],
        "zeros after the pixels": good + bytes(3),
        "a text after the pixels": good + b"trailing",
        "an open sequence": good[:pixels] + private + b"SQ\0\0" + undefined + open_item + end
        + bytes(4) + good[pixels:],
        "an open sequence of unknown representation": good[:pixels] + private + b"UN\0\0"
        + undefined + item + undefined + implicit + item_end + bytes(4) + end + bytes(4)
        + good[pixels:],
        "an implicit element": good[:pixels] + implicit + good[pixels:],
        "an unknown representation": good[:pixels] + private + b"ZZ\4\0abcd" + good[pixels:],
        "explicit, said to be implicit": good.replace(
            b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"
        ),
        "another character set": rewrite(good, SpecificCharacterSet="ISO 2022 IR 87"),
    }  # fmt: skip
    for name, data in cases.items():
        assert np.array_equal(read_slice(data).hu, hu), name
        assert len(read_headers(io.BytesIO(data))) == 1


def test_what_follows_the_pixels_is_left_out() -> None:
    good = make_dicom(STORED)
    rows = at_of(good, 0x0028, 0x0010)
    other = good[rows : rows + 8] + struct.pack("<H", 7)
    assert read_slice(good + other).header == read_slice(good).header


def test_pixels_of_a_short_representation() -> None:
    good = make_dicom(STORED[-8:, :8])
    at = at_of(good, 0x7FE0, 0x0010)
    short = good[:at] + struct.pack("<HH2sH", 0x7FE0, 0x0010, b"US", 128) + good[at + 12 :]
    np.testing.assert_array_equal(read_slice(short).hu, read_slice(good).hu)


def bare(data: bytes, *, implicit: bool) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    plain = Dataset(dataset)
    file = io.BytesIO()
    pydicom.dcmwrite(
        file, plain, implicit_vr=implicit, little_endian=True, enforce_file_format=False
    )
    return file.getvalue()


def test_files_without_what_stands_before_the_data_set() -> None:
    good = make_dicom(STORED)
    meta_bytes = int.from_bytes(good[140:144], "little") + 12
    cases = {
        Repair.NO_PREAMBLE: (good[META:], good[META - 4 :]),
        Repair.NO_META: (
            bare(good, implicit=True),
            bare(good, implicit=False),
            good[:META] + good[META + meta_bytes :],
        ),
    }
    for repair, files in cases.items():
        for data in files:
            slice_ = read_slice(data)
            assert slice_.repairs == (repair,)
            np.testing.assert_array_equal(slice_.hu, read_slice(good).hu)
            assert read_headers(io.BytesIO(data)) == [slice_.header]
    assert slice_.header.transfer_syntax == "1.2.840.10008.1.2.1"
    big = make_dicom(STORED, syntax="big")
    slice_ = read_slice(big[big.index(b"\0\x08\0\x16UI") :])
    assert slice_.repairs == (Repair.NO_META,)
    assert slice_.header == read_slice(big).header
    np.testing.assert_array_equal(slice_.hu, read_slice(big).hu)


@pytest.mark.parametrize(
    "data", [b"hello" * 60, b"\x08\0" * 300, b"\x02\0\x10\0UI\x04\0" + b"1.2\0" * 99, bytes(1000)]
)
def test_what_only_begins_like_a_data_set_is_no_dicom(data: bytes) -> None:
    assert reason_of(data) is Reason.NOT_DICOM


def test_a_header_that_is_cut_is_called_cut() -> None:
    good = make_dicom(STORED)
    for keyword in ("Modality", "Rows"):
        tag = tag_of(keyword)
        with pytest.raises(DicomError, match="is cut or broken") as caught:
            read_slice(good[: at_of(good, tag >> 16, tag & 0xFFFF) + 9])
        assert caught.value.reason is Reason.BAD_HEADER


def test_every_cut_in_a_file_is_called_cut() -> None:
    for data in (good_files()["explicit"], good_files()["deflated"]):
        meta_end = 144 + int.from_bytes(data[140:144], "little")
        for keep in range(meta_end + 20, len(data) - 40, 7):
            with pytest.raises(DicomError, match="cut") as caught:
                read_slice(data[:keep])
            assert caught.value.reason in CUT


def test_the_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_dicom(STORED)
    monkeypatch.setattr(data_set, "MAX_ELEMENTS", 100)
    pixels = at_of(good, 0x7FE0, 0x0010)
    private = struct.pack("<HH2sH", 0x0029, 0x1010, b"LO", 0)
    assert read_slice(good[:pixels] + 20 * private + good[pixels:]).repairs == ()
    assert reason_of(good[:pixels] + 100 * private + good[pixels:]) is Reason.TOO_LARGE


def test_the_depth_of_sequences_is_bounded() -> None:
    good = make_dicom(STORED)
    pixels = at_of(good, 0x7FE0, 0x0010)
    opened = struct.pack("<HH2s2xLHHL", 0x0029, 0x1010, b"SQ", 2**32 - 1, 0xFFFE, 0xE000, 2**32 - 1)
    assert reason_of(good[:pixels] + 3000 * opened + good[pixels:]) is Reason.TOO_LARGE


def test_functional_groups_in_sequences_of_both_lengths() -> None:
    data = make_enhanced(np.stack([STORED, STORED + 1]))
    opened = pydicom.dcmread(io.BytesIO(data))
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        opened[keyword].is_undefined_length = True
        for group in opened[keyword].value:
            group.is_undefined_length_sequence_item = True
            for macro in group:
                macro.is_undefined_length = True
                macro.value[0].is_undefined_length_sequence_item = True
    file = io.BytesIO()
    pydicom.dcmwrite(file, opened)
    assert len(file.getvalue()) > len(data)
    expected = read_headers(io.BytesIO(data))
    assert len(expected) == 2 and read_headers(io.BytesIO(file.getvalue())) == expected


def test_the_number_of_described_frames_is_bounded() -> None:
    data = make_enhanced(np.stack([STORED, STORED + 1]))
    at = at_of(data, 0x5200, 0x9230)
    end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "little")
    items = 100_000 * struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    more = data[:at] + struct.pack("<HH2s2xL", 0x5200, 0x9230, b"SQ", len(items)) + items
    with pytest.raises(DicomError, match="NumberOfFrames is 2, but 2001 frames are described"):
        read_headers(io.BytesIO(more + data[end:]))
