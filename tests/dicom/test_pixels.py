"""Bits, padding and lengths of pixel data."""

import io
import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import ExplicitVRBigEndian

from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason, Repair
from ich_tf.dicom.rle import CutRleError, RleError, decode_rle
from tests.support.dicom_files import changed, encapsulated, make_dicom, make_enhanced, rewrite

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
SIDE = 48
y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
# What a scanner does not reconstruct: all four corners, or three.
OUTSIDE = np.hypot(x, y) > SIDE / 2
THREE_CORNERS = np.hypot(x - 4.5, y - 4.5) > 30
HU = np.where(np.hypot(x, y) < 16, 40, -1000) + np.arange(SIDE) % 7
U12 = (HU + 1024).astype(np.uint16)
RLE = "1.2.840.10008.1.2.5"
JPEG2000 = "1.2.840.10008.1.2.4.90"


def padded(mask: np.ndarray, value: int) -> np.ndarray:
    return np.where(mask, value, U12).astype(np.uint16)


@pytest.mark.parametrize(
    ("value", "limit", "held", "bits", "mask"),
    [
        (65535, None, 65535, 16, OUTSIDE),
        (65535, None, 65535, 16, THREE_CORNERS),
        (4000, 4095, 4095, 12, OUTSIDE),
        (4095, 4000, 4001, 12, OUTSIDE),
        (63536, None, 63536, 12, OUTSIDE),
        (2096, None, 63536, 12, OUTSIDE),
    ],
    ids=["value", "three corners", "range", "range upside down", "more bits", "bits above"],
)
def test_padding_becomes_air(
    value: int, limit: int | None, held: int, bits: int, mask: np.ndarray
) -> None:
    data = make_dicom(padded(mask, held), bits=bits)
    tags = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
    slice_ = read_slice(rewrite(data, **{name: tag for name, tag in tags.items() if tag}))
    np.testing.assert_array_equal(slice_.hu, np.where(mask, -1000, HU))
    assert slice_.repairs == (Repair.PADDING,)


def test_padding_of_signed_files() -> None:
    stored = np.where(OUTSIDE, 3500, HU).astype(np.int16)
    data = rewrite(make_dicom(stored, intercept="0"), PixelPaddingValue=3500)
    np.testing.assert_array_equal(read_slice(data).hu, np.where(OUTSIDE, -1000, HU))


def test_dark_padding_is_left_to_be_clipped() -> None:
    stored = np.where(OUTSIDE, -2000, HU).astype(np.int16)
    slice_ = read_slice(rewrite(make_dicom(stored, intercept="0"), PixelPaddingValue=-2000))
    assert slice_.hu.min() == -2000 and slice_.repairs == ()


def test_tissue_that_has_the_padding_value_stays() -> None:
    stored = padded(OUTSIDE, 1064)
    stored[20:28, 20:28] = 1064
    slice_ = read_slice(rewrite(make_dicom(stored), PixelPaddingValue=1064))
    assert (slice_.hu[20:28, 20:28] == 40).all() and (slice_.hu[OUTSIDE] == -1000).all()


def test_a_high_bit_of_its_own_is_refused() -> None:
    with pytest.raises(DicomError, match="HighBit is 15, BitsStored 12; expected a HighBit of 11"):
        read_slice(make_dicom(U12 << 4, bits=12, tags={"HighBit": 15}))
    np.testing.assert_array_equal(read_slice(make_dicom(U12, bits=12, without=("HighBit",))).hu, HU)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -50), (0.5, 0), (2, 0), (1, 0), (0.5, -24)])
def test_legal_12_bit_files_are_not_repaired(slope: float, intercept: float) -> None:
    stored = np.clip(np.round((HU - intercept) / slope), 0, 4095).astype(np.uint16)
    slice_ = read_slice(make_dicom(stored, bits=12, slope=str(slope), intercept=str(intercept)))
    np.testing.assert_array_equal(slice_.hu, stored * slope + intercept)
    assert slice_.repairs == ()


@pytest.mark.parametrize("intercept", ["0", "1", "-1"])
def test_wrapped_12_bit_files_are_repaired(intercept: str) -> None:
    slice_ = read_slice(make_dicom((HU % 4096).astype(np.uint16), bits=12, intercept=intercept))
    np.testing.assert_array_equal(slice_.hu, HU)
    assert slice_.repairs == (Repair.RSNA_12BIT,)


def eight_bits(kind: str, values: np.ndarray) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(U12, slope="8", intercept="-1000")))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.Rows, dataset.Columns = values.shape
    data = values.tobytes()
    if kind == "OW":
        data = np.frombuffer(data + bytes(len(data) % 2), "<u2").byteswap().tobytes()
    dataset.PixelData = data
    dataset["PixelData"].VR = kind
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=False)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["OB", "OW"])
@pytest.mark.parametrize("columns", [SIDE, SIDE - 1])
def test_8_bit_pixels_in_big_endian_bytes_and_words(kind: str, columns: int) -> None:
    values = ((HU[:-1, :columns] + 1000) // 8).astype(np.uint8)
    np.testing.assert_array_equal(read_slice(eight_bits(kind, values)).hu, values * 8.0 - 1000)


@pytest.mark.parametrize("count", [2, 3, 500, 2 * SIDE * SIDE - 2])
def test_bytes_after_the_pixels_are_left_out(count: int) -> None:
    data = changed(
        make_dicom(U12),
        lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + bytes(count)),
    )
    slice_ = read_slice(data)
    np.testing.assert_array_equal(slice_.hu, HU)
    assert slice_.repairs == (Repair.PADDING_EXCESS,)


def test_another_frame_is_no_padding() -> None:
    data = changed(
        make_dicom(U12), lambda dataset: setattr(dataset, "PixelData", 2 * dataset.PixelData)
    )
    with pytest.raises(DicomError, match="need no more than 4608") as caught:
        read_slice(data)
    assert caught.value.reason is Reason.BAD_HEADER


def compressed(syntax: str) -> bytes:
    plain = make_dicom(U12)
    if syntax == RLE:
        dataset = pydicom.dcmread(io.BytesIO(plain))
        stream = RLELosslessEncoder.encode(dataset, encoding_plugin="pydicom")
    else:
        stream = imagecodecs.jpeg2k_encode(U12, level=0, reversible=True, codecformat="j2k")
    return encapsulated(plain, stream, syntax)


@pytest.mark.parametrize("syntax", [RLE, JPEG2000])
def test_compressed_files_that_are_cut(syntax: str) -> None:
    data = compressed(syntax)
    np.testing.assert_array_equal(read_slice(data).hu, HU)
    for whole in (data[:-8], data[:-8] + bytes(8), data[:-3]):
        slice_ = read_slice(whole)
        np.testing.assert_array_equal(slice_.hu, HU)
        assert slice_.repairs == (Repair.NO_DELIMITER,)
    pixels = data.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    for keep in (len(data) - 600, pixels + 20, pixels + 4, pixels):
        with pytest.raises(DicomError, match="the file is cut") as caught:
            read_slice(data[:keep])
        assert caught.value.reason is Reason.TRUNCATED_PIXELS


def test_a_codestream_without_its_end_is_cut() -> None:
    stream = imagecodecs.jpegls_encode(U12)
    for part in (stream[:-2], stream[:-200]):
        with pytest.raises(DicomError, match="no end-of-image marker") as caught:
            read_slice(encapsulated(make_dicom(U12), part, "1.2.840.10008.1.2.4.80"))
        assert caught.value.reason is Reason.TRUNCATED_PIXELS


@pytest.mark.parametrize("with_table", [True, False])
def test_frames_of_one_fragment_and_of_several(with_table: bool) -> None:
    stored = np.stack([U12, U12[::-1], U12.T]).astype(np.int16)
    streams = [imagecodecs.jpegls_encode(frame.view(np.uint16)) for frame in stored]
    for fragments in (1, 2):
        data = encapsulate(streams, fragments_per_frame=fragments, has_bot=with_table)
        file = encapsulated(make_enhanced(stored), b"\0\0", "1.2.840.10008.1.2.4.80")
        file = changed(file, lambda dataset, data=data: setattr(dataset, "PixelData", data))
        for number, frame in enumerate(stored, 1):
            np.testing.assert_array_equal(read_slice(file, number).hu, frame - 1024.0)


def test_rle_gives_no_more_than_the_header_declares() -> None:
    segment = b"\x81\x00" * 2**18
    bomb = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + 2 * segment
    assert decode_rle(bomb, 64, 64, 2).nbytes == 2 * 64 * 64
    with pytest.raises(DicomError, match="need no more than") as caught:
        read_slice(encapsulated(make_dicom(U12), 4 * bomb, RLE))
    assert caught.value.reason is Reason.DECODE_FAILED
    nothing = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x80" * 2**20
    with pytest.raises(CutRleError):
        decode_rle(nothing, 64, 64, 1)
    with pytest.raises(RleError, match="1 RLE segments, expected 2"):
        decode_rle(nothing, 64, 64, 2)
