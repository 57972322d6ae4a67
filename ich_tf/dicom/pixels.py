"""Pixel data -> Hounsfield units, with the repair of known defects.

Clauses are those of DICOM PS3.3 (information objects) and PS3.5 (encoding), 2024.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from ich_tf.dicom import decoders
from ich_tf.dicom.elements import AnyDataset, byte_order, element, integer, numbers, tag_of, text
from ich_tf.dicom.fast_parser import PIXEL_DATA
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Reason, Repair

AIR_HU = -1000.0
# RSNA's 16-bit files reach -1024, GE pads with -1500 to -3024: beyond this it is no intercept.
_MAX_INTERCEPT = 10_000.0
_MAX_SLOPE = 100.0


class StoredPixels(NamedTuple):
    """Pixels before the rescale to Hounsfield units.

    Attributes:
      values: Stored values, integers [rows, columns].
      bits: BitsStored, the bits of a pixel in use.
      signed: Whether the stored values are signed.
      decoder: Library, version and codec that decoded them; empty if they were not compressed.
    """

    values: np.ndarray
    bits: int
    signed: bool
    decoder: str


def hounsfield_units(
    dataset: AnyDataset, header: Header
) -> tuple[np.ndarray, tuple[Repair, ...], str]:
    """Reads the pixels of one slice.

    Args:
      dataset: The file, or one of its frames as `parser.frames` returns it.
      header: Header of the slice.

    Returns:
      Hounsfield units, float32 [rows, columns]; the repairs that were applied; and the decoder,
      empty if the pixels were not compressed.

    Raises:
      DicomError: If the pixels cannot be read whole, or are no Hounsfield units.
    """
    slope, intercept = _rescale(dataset)
    stored, bits, signed, decoder = _stored_pixels(dataset, header)
    padding = _padding(dataset, stored, signed)
    repairs: tuple[Repair, ...] = ()
    if bits == 12 and not signed and intercept > -100:
        # Values above 3095 wrapped around when these files were made, and the intercept was
        # lost; known from RSNA's stage-2 data.
        stored = stored.astype(np.int32) + 1000
        stored[stored >= 4096] -= 4096
        intercept = -1000.0
        repairs = (Repair.RSNA_12BIT,)
    hu = stored.astype(np.float32)
    if slope != 1.0:
        hu *= np.float32(slope)
    if intercept != 0.0:
        hu += np.float32(intercept)
    if padding is not None and float(hu[0, 0]) > AIR_HU:
        # Padding below air is clipped later, with everything else; above air, it would shine.
        hu[padding] = AIR_HU
        repairs = (*repairs, Repair.PADDING)
    _check_plausible(hu, text(dataset, "PhotometricInterpretation"))
    return hu, repairs, decoder


def _rescale(dataset: AnyDataset) -> tuple[float, float]:
    """Slope and intercept to Hounsfield units; both are required of CT (PS3.3 C.8.2.1)."""
    factors = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        values = numbers(dataset, keyword, Reason.BAD_RESCALE)
        if len(values) != 1 or not math.isfinite(values[0]):
            raise DicomError(
                Reason.BAD_RESCALE, f"{keyword} is {values or 'missing'}; expected one number."
            )
        factors.append(values[0])
    slope, intercept = factors
    if not 0 < slope <= _MAX_SLOPE or abs(intercept) > _MAX_INTERCEPT:
        raise DicomError(
            Reason.BAD_RESCALE,
            f"slope {slope:g} and intercept {intercept:g} yield no Hounsfield units; expected a "
            f"slope in (0, {_MAX_SLOPE:g}] and an intercept within {_MAX_INTERCEPT:g}.",
        )
    return slope, intercept


def _stored_pixels(dataset: AnyDataset, header: Header) -> StoredPixels:
    allocated = integer(dataset, "BitsAllocated")
    bits = integer(dataset, "BitsStored")
    signed = integer(dataset, "PixelRepresentation") == 1
    if allocated not in (8, 16) or not 0 < bits <= allocated:
        raise DicomError(
            Reason.BAD_HEADER,
            f"BitsAllocated {allocated}, BitsStored {bits}; expected 8 or 16, and no more "
            "stored than allocated.",
        )
    syntax = UID(header.transfer_syntax)
    if not syntax.is_transfer_syntax:
        raise DicomError(
            Reason.BAD_HEADER,
            f"TransferSyntaxUID is {'unknown' if syntax else 'missing'}; expected that of a "
            "transfer syntax.",
        )
    if PIXEL_DATA not in dataset:
        raise DicomError(Reason.NO_PIXELS, "PixelData is missing.")
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    decoder = ""
    if syntax.is_compressed and not syntax.is_deflated:
        assert isinstance(dataset, FileDataset)  # `read_plain` leaves compressed pixels alone
        frames, index = integer(dataset, "NumberOfFrames", 1), max(0, header.frame - 1)
        decoded = decoders.decode(dataset, syntax, header.rows, header.columns, index, frames)
        values, decoder = decoded.pixels.astype(kind, copy=False), decoded.decoder
    else:
        order = "<" if syntax.is_little_endian else ">"
        values = _uncompressed(dataset, header, np.dtype(order + kind))
    if bits < allocated:
        # Bits above BitsStored may hold anything (PS3.5 8.1.1): shift them out and extend the sign.
        shift = allocated - bits
        values = np.right_shift(np.left_shift(values, shift), shift)
    return StoredPixels(values, bits, signed, decoder)


def _uncompressed(dataset: AnyDataset, header: Header, dtype: np.dtype) -> np.ndarray:
    """The stored values of the header's frame, [rows, columns], a view of the pixel data."""
    frames, index = integer(dataset, "NumberOfFrames", 1), max(0, header.frame - 1)
    raw = element(dataset, PIXEL_DATA).value
    pixels = header.rows * header.columns
    expected = frames * pixels * dtype.itemsize
    if raw is None or len(raw) < expected:
        raise DicomError(
            Reason.TRUNCATED_PIXELS,
            f"PixelData has {len(raw or b'')} bytes; {frames} x {header.rows} x "
            f"{header.columns} pixels of {8 * dtype.itemsize} bits need {expected}.",
        )
    if len(raw) - expected > header.columns * dtype.itemsize:
        # Some writers pad; more than a row means that rows or columns are wrong.
        raise DicomError(
            Reason.BAD_HEADER,
            f"PixelData has {len(raw)} bytes; {frames} x {header.rows} x {header.columns} "
            f"pixels of {8 * dtype.itemsize} bits need no more than {expected}.",
        )
    offset = index * pixels * dtype.itemsize
    stored = np.frombuffer(raw, dtype, count=pixels, offset=offset)
    return stored.reshape(header.rows, header.columns)


def _padding(dataset: AnyDataset, stored: np.ndarray, signed: bool) -> np.ndarray | None:
    """A mask of the pixels outside the reconstructed field of view, bool [H, W], or None.

    None unless all four corners hold the padding value: a few writers name one that tissue has.
    """
    data_element = element(dataset, tag_of("PixelPaddingValue"))
    if data_element is None or not data_element.value:
        return None
    value = data_element.value
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], byte_order(data_element), signed=signed)
    corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
    return np.asarray(stored == value) if (corners == value).all() else None


def _check_plausible(hu: np.ndarray, photometric: str) -> None:
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE, f"every pixel is {low:g} HU; expected a head or a phantom."
        )
    border = np.concatenate([hu[0], hu[-1], hu[:, 0], hu[:, -1]])
    # Inverted grey is a matter of display (PS3.3 C.7.6.3.1.2) and leaves Hounsfield units alone;
    # but some writers inverted the pixels as well, and then the air around a head is bright.
    if photometric == "MONOCHROME1" and float(np.median(border)) > 0:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE,
            f"PhotometricInterpretation is MONOCHROME1 and the border has {np.median(border):g} "
            "HU; expected air. The pixels are inverted.",
        )
