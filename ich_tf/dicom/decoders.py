"""Compressed pixel data -> stored values, with a single decoder for each transfer syntax.

Decoders disagree silently on odd files, so none replaces another, and `DecodedFrame.decoder`
names the one that was used. imagecodecs (BSD) reads every JPEG in use, including 12-bit JPEG, which
neither gdcm nor pylibjpeg-openjpeg reads, and is faster than them; pydicom reads RLE.
Size and samples are parsed from the codestream first, so that a few bytes cannot claim gigabytes;
the C code then runs in a separate process (`decoder_process`).
"""

from __future__ import annotations

import functools
import importlib.util
import struct
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, RLELossless

from ich_tf.dicom.decoder_process import DecoderProcess
from ich_tf.dicom.reasons import DicomError, Reason

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

# Exceptions that pydicom raises on broken pixel data.
_DECODE_ERRORS = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
# JPEG markers of the start of a frame, for every process (T.81 B.1.1.3) and JPEG-LS (T.87).
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JPEG2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ


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
    dataset: FileDataset, syntax: UID, rows: int, columns: int, frame: int, frames: int
) -> DecodedFrame:
    """Decodes one frame of compressed pixel data.

    Args:
      dataset: File with PixelData, and for RLE with the image pixel module.
      syntax: Transfer syntax of the file.
      rows: Number of rows declared in the header.
      columns: Number of columns declared in the header.
      frame: Number of the frame, from 0.
      frames: Number of frames declared in the header.

    Raises:
      DicomError: NO_DECODER, DECODE_FAILED or DECODER_DIED.
    """
    if not can_decode(syntax):
        raise DicomError(Reason.NO_DECODER, why_not(syntax))
    try:
        if syntax == RLELossless:
            pixels, _ = get_decoder(syntax).as_array(dataset, raw=True, index=frame)
            decoder = f"pydicom {_version('pydicom')} rle"
        else:
            codec = _IMAGECODECS[str(syntax)]
            stream = get_frame(dataset.PixelData, frame, number_of_frames=frames)
            _check_size(stream, codec, rows, columns)
            pixels = _PROCESS.decode(codec, stream)
            decoder = f"imagecodecs {_version('imagecodecs')} {codec}"
    except DicomError:
        raise
    except _DECODE_ERRORS as error:
        raise DicomError(Reason.DECODE_FAILED, f"{syntax.name}: {type(error).__name__}.") from error
    if pixels.shape != (rows, columns):
        raise DicomError(
            Reason.DECODE_FAILED,
            f"{syntax.name}: decoded to {pixels.shape}; the header declares {(rows, columns)}.",
        )
    return DecodedFrame(np.asarray(pixels), decoder)


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
