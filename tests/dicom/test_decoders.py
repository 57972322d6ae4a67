import io
import os
import signal
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.pixels.encoders import RLELosslessEncoder

import ich_tf
from ich_tf.dicom import decoder_process, decoders
from ich_tf.dicom.decoder_process import DecoderProcess
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from tests.support.dicom_files import encapsulated, make_dicom

PREFIX = "1.2.840.10008.1.2.4."
SIZE = 2 * 64 * 48  # of a decoded slice, bytes


def head(dtype=np.int16, low=-1024, high=1500):
    """Smooth, with noise, and with the values at both ends."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:64j, -1:1:48j]
    image = np.where(x**2 + y**2 < 0.8, 1064.0, 0.0) + rng.normal(0, 20, x.shape)
    image[30:34, 20:24] = high - low
    return np.clip(image + low, low, high).astype(dtype)


def bits(array):
    return array.view(np.uint16)


CODECS = {
    "jpeg_lossless": (f"{PREFIX}70", lambda a: imagecodecs.ljpeg_encode(bits(a), bitspersample=16)),
    "jpegls": (f"{PREFIX}80", lambda a: imagecodecs.jpegls_encode(bits(a))),
    "jpeg2000": (
        f"{PREFIX}90",
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, reversible=True, codecformat="j2k"),
    ),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", CODECS)
def test_lossless_codecs_give_the_uncompressed_pixels(name: Any, signed: bool) -> None:
    stored = head() if signed else head(np.uint16, 0, 2500)
    syntax, encode = CODECS[name]
    plain = make_dicom(stored)
    slice_ = read_slice(encapsulated(plain, encode(stored), syntax))
    np.testing.assert_array_equal(slice_.hu, read_slice(plain).hu)
    assert slice_.decoder.startswith(f"imagecodecs {imagecodecs.__version__} jpeg")
    assert read_slice(plain).decoder == ""


def test_rle() -> None:
    stored = head()
    plain = make_dicom(stored)
    dataset = pydicom.dcmread(io.BytesIO(plain))
    stream = RLELosslessEncoder.encode(dataset, encoding_plugin="pydicom")
    slice_ = read_slice(encapsulated(plain, stream, "1.2.840.10008.1.2.5"))
    np.testing.assert_array_equal(slice_.hu, read_slice(plain).hu)
    assert slice_.decoder == f"ich_tf {ich_tf.__version__} rle"


def test_12_bit_jpeg_is_read_within_its_loss() -> None:
    stored = head(np.uint16, 0, 2500)
    stream = imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12)
    plain = make_dicom(stored, bits=12, intercept="-1024")
    slice_ = read_slice(encapsulated(plain, stream, f"{PREFIX}51"))
    assert np.abs(slice_.hu - read_slice(plain).hu).max() < 30


@pytest.mark.parametrize("name", CODECS)
def test_a_codestream_of_another_size_is_not_decoded(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    syntax, encode = CODECS[name]
    stored = head()
    data = encapsulated(make_dicom(stored), encode(stored[:40]), syntax)
    monkeypatch.setattr(decoders, "_PROCESS", None)  # decoding would raise an AttributeError
    with pytest.raises(DicomError, match="40 x 48 pixels of 1 .*declares 64 x 48"):
        read_slice(data)


def test_a_codestream_that_claims_gigabytes_is_not_decoded() -> None:
    stored = head()
    stream = bytearray(imagecodecs.jpegls_encode(bits(stored)))
    at = stream.index(b"\xff\xf7") + 5
    stream[at : at + 4] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(DicomError, match="65535 x 65535") as caught:
        read_slice(encapsulated(make_dicom(stored), bytes(stream), f"{PREFIX}80"))
    assert caught.value.reason is Reason.DECODE_FAILED


@pytest.mark.parametrize("syntax", ["53", "55"])
def test_retired_syntaxes_are_named(syntax: str) -> None:
    data = encapsulated(make_dicom(), b"\xff\xd8", PREFIX + syntax)
    with pytest.raises(DicomError, match=r"\(Process .* is retired") as caught:
        read_slice(data)
    assert caught.value.reason is Reason.NO_DECODER


def test_without_imagecodecs_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoders, "_has_imagecodecs", lambda: False)
    assert not decoders.can_decode(f"{PREFIX}80") and decoders.can_decode("1.2.840.10008.1.2.5")
    data = encapsulated(make_dicom(), b"\xff\xd8", f"{PREFIX}80")
    with pytest.raises(DicomError, match=r"install ich_tf\[codecs\]"):
        read_slice(data)


@pytest.mark.parametrize("name", CODECS)
def test_damaged_codestreams_give_a_slice_or_a_reason(name: Any) -> None:
    syntax, encode = CODECS[name]
    stored = head()
    stream, plain = encode(stored), make_dicom(stored)
    rng = np.random.default_rng(1)
    reasons = []
    for _ in range(60):
        damaged = bytearray(stream)
        for at in rng.integers(0, len(damaged), size=4):
            damaged[at] = rng.integers(256)
        cut = len(damaged) if rng.random() < 0.7 else int(rng.integers(2, len(damaged)))
        try:
            slice_ = read_slice(encapsulated(plain, bytes(damaged[:cut]), syntax))
            assert np.isfinite(slice_.hu).all()
        except DicomError as error:
            reasons.append(error.reason)
    assert set(reasons) <= {
        Reason.DECODE_FAILED, Reason.DECODER_DIED, Reason.HU_IMPLAUSIBLE, Reason.TRUNCATED_PIXELS
    }  # fmt: skip
    assert reasons


@pytest.fixture
def process():
    decoder = DecoderProcess()
    yield decoder
    decoder.close()


def test_a_decoder_that_dies_costs_one_codestream(process: Any) -> None:
    stream = imagecodecs.jpegls_encode(bits(head()))
    expected = process.decode("jpegls", stream, SIZE)
    os.kill(process._process.pid, signal.SIGSEGV)
    with pytest.raises(DicomError, match=f"code -{signal.SIGSEGV.value}") as caught:
        process.decode("jpegls", stream, SIZE)
    assert caught.value.reason is Reason.DECODER_DIED
    np.testing.assert_array_equal(process.decode("jpegls", stream, SIZE), expected)


def test_a_decoder_that_hangs_is_ended(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = imagecodecs.jpegls_encode(bits(head()))
    process.decode("jpegls", stream, SIZE)
    pid = process._process.pid
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(decoder_process, "TIMEOUT_SECONDS", 0.3)
    with pytest.raises(DicomError, match=r"within 0.3 s") as caught:
        process.decode("jpegls", stream, SIZE)
    assert caught.value.reason is Reason.DECODER_TIMEOUT
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    monkeypatch.undo()
    process.decode("jpegls", stream, SIZE)


def test_a_decoder_cannot_take_all_memory(process: Any) -> None:
    """30,000 x 30,000 pixels of 16 bits: 1.8 GB."""
    stream = bytearray(imagecodecs.jpegls_encode(bits(head())))
    at = stream.index(b"\xff\xf7") + 5
    stream[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    with pytest.raises(DicomError) as caught:
        process.decode("jpegls", bytes(stream), SIZE)
    assert caught.value.reason in (Reason.DECODE_FAILED, Reason.DECODER_DIED)


def test_real_transfer_syntaxes(real_dicom: Path) -> None:
    folder = real_dicom / "transfer_syntaxes"
    reference = read_slice((folder / "CTImage.dcm").read_bytes()).hu
    losses = {"91": 5, "81": 1, "51": 40, "50": 70}
    decoded = 0
    for path in sorted(folder.glob("CTImage.dcm_*")):
        last = path.stem.rsplit(".", 1)[1]
        if PREFIX + last in path.name and last in ("53", "55"):
            with pytest.raises(DicomError, match="retired"):
                read_slice(path.read_bytes())
            continue
        difference = np.abs(read_slice(path.read_bytes()).hu - reference)
        assert difference.max() <= losses.get(last, 0), path.name
        decoded += 1
    assert decoded == 13
