"""Compressed pixel data -> stored values, with a single decoder for each transfer syntax.

Decoders disagree silently on odd files, so none replaces another, and `DecodedFrame.decoder`
names the one that was used. imagecodecs (BSD) reads every JPEG in use, including 12-bit JPEG, which
neither gdcm nor pylibjpeg-openjpeg reads, and is faster than them; RLE is read by `rle`.
Size and samples are parsed from the codestream first, so that a few bytes cannot claim gigabytes;
the C code then runs in a separate process (`decoder_process`). No codestream is longer, and no
output larger, than the header's rows and columns allow.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from pydicom.uid import UID, RLELossless

import ich_tf
from ich_tf.dicom.decoder_process import DecoderProcess
from ich_tf.dicom.fragments import Fragments
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.rle import CutRleError, RleError, decode_rle

# Transfer syntax -> function of imagecodecs. PS3.5 annex A.4.
_IMAGECODECS = {
    "1.2.840.10008.1.2.4.50": "jpeg8",  # baseline, 8 bits
    "1.2.840.10008.1.2.4.51": "jpeg8",  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": "jpeg8",  # lossless
    "1.2.840.10008.1.2.4.70": "jpeg8",  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "jpegls",
    "1.2.840.10008.1.2.4.81": "jpegls",  # near-lossless
    "1.2.840.10008.1.2.4.90": "jpeg2k",  # lossless
    "1.2.840.10008.1.2.4.91": "jpeg2k",
}
_RETIRED = ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
SYNTAXES = (*_IMAGECODECS, str(RLELossless))

_PROCESS = DecoderProcess()

# A codestream is shorter than its pixels; noise, and an encoder that pads, make it a little longer.
_MAX_GROWTH, _MAX_HEADERS = 2, 2**20
# JPEG markers of the start of a frame, for every process (T.81 B.1.1.3) and JPEG-LS (T.87).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JPEG2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ
_BOXED = b"\x00\x00\x00\x0cjP  "  # T.800 I.5.1
_END = b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One decoded frame.

    Attributes:
      pixels: Stored values, integers [rows, columns].
      decoder: Library, version and codec.
    """

    pixels: np.ndarray
    decoder: str


def decode(
    fragments: Fragments, syntax: UID, rows: int, columns: int, frame: int, sample_bytes: int
) -> DecodedFrame:
    """Decodes one frame of compressed pixel data.

    Args:
      fragments: The codestreams of the file.
      syntax: Transfer syntax of the file, one that `can_decode` accepts.
      rows: Number of rows declared in the header.
      columns: Number of columns declared in the header.
      frame: Number of the frame, from 0.
      sample_bytes: Bytes of a pixel, 1 or 2.

    Raises:
      DicomError: DECODE_FAILED, TRUNCATED_PIXELS, DECODER_DIED or DECODER_TIMEOUT.
    """
    size = rows * columns * sample_bytes
    longest = _MAX_GROWTH * size + _MAX_HEADERS
    if fragments.num_bytes(frame) > longest:
        raise DicomError(
            Reason.DECODE_FAILED,
            f"its codestream has {fragments.num_bytes(frame)} bytes; {size} bytes of pixels need "
            f"no more than {longest}.",
        )
    stream = fragments.codestream(frame)
    try:
        if syntax == RLELossless:
            pixels = decode_rle(stream, rows, columns, sample_bytes)
            return DecodedFrame(pixels, f"ich_tf {ich_tf.__version__} rle")
        codec = _IMAGECODECS[str(syntax)]
        _check_size(stream, codec, rows, columns)
        _check_end(stream)
        pixels = _PROCESS.decode(codec, stream, 2 * rows * columns)
    except DicomError:
        raise
    except CutRleError as error:
        raise DicomError(Reason.TRUNCATED_PIXELS, f"is cut: {error}.") from error
    except (IndexError, RleError, ValueError, struct.error) as error:
        text = str(error) if isinstance(error, RleError) else type(error).__name__
        raise DicomError(Reason.DECODE_FAILED, f"{syntax.name}: {text}.") from error
    if pixels.shape != (rows, columns):
        raise DicomError(
            Reason.DECODE_FAILED,
            f"{syntax.name}: decoded to {pixels.shape}; the header declares {(rows, columns)}.",
        )
    return DecodedFrame(pixels, f"imagecodecs {_version('imagecodecs')} {codec}")


def can_decode(syntax: str) -> bool:
    """Whether a compressed transfer syntax can be decoded on this machine."""
    return syntax == str(RLELossless) or (syntax in _IMAGECODECS and _has_imagecodecs())


def why_not(syntax: UID) -> str:
    """The reason why `can_decode` is false for a transfer syntax, and what to do."""
    if syntax in _RETIRED:
        return f"{syntax.name} is retired, and no decoder is trusted with it."
    if syntax not in _IMAGECODECS:
        return f"no decoder reads {syntax.name}."
    return f"{syntax.name} needs imagecodecs; install ich_tf[codecs]."


def _check_size(stream: bytes, codec: str, rows: int, columns: int) -> None:
    size = _jpeg2000_size(stream) if codec == "jpeg2k" else _jpeg_size(stream)
    if size != (rows, columns, 1):
        raise DicomError(
            Reason.DECODE_FAILED,
            f"its codestream has {size[0]} x {size[1]} pixels of {size[2]} samples; the header "
            f"declares {rows} x {columns} of 1.",
        )


def _check_end(stream: bytes) -> None:
    """Raises if a codestream lacks its end; decoders would make up the rest of the image.

    T.81 B.1.1.3 and T.800 A.4.4: an end is FF D9. Encoders pad behind it; boxes may follow.
    """
    if not stream.startswith(_BOXED) and not stream.rstrip(b"\0\xff").endswith(_END):
        raise DicomError(
            Reason.TRUNCATED_PIXELS,
            f"is cut: its codestream of {len(stream)} bytes has no end-of-image marker.",
        )


def _jpeg_size(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples of a JPEG or JPEG-LS codestream."""
    position = 2
    while True:
        if stream[position] != 0xFF:
            raise ValueError("a marker of the codestream is not where it should be")
        while stream[position] == 0xFF:  # fill bytes
            position += 1
        marker = stream[position]
        position += 1
        if marker in _WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", stream, position)
        if marker in _START_OF_FRAME:
            rows, columns, samples = struct.unpack_from(">HHB", stream, position + 3)
            return rows, columns, samples
        position += max(2, length)


def _jpeg2000_size(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples of a JPEG 2000 codestream, boxed (JP2) or bare (T.800 A.5.1)."""
    start = stream.find(_JPEG2000_START)
    if start < 0:
        raise ValueError("no start of codestream")
    size = struct.unpack_from(">4I", stream, start + 8)
    (samples,) = struct.unpack_from(">H", stream, start + 40)
    return size[1] - size[3], size[0] - size[2], samples


@functools.cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


@functools.cache
def _version(package: str) -> str:
    return version(package)
