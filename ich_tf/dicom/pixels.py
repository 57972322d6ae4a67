"""Pixel data -> Hounsfield units, with the repair of known defects.

Clauses are those of DICOM PS3.3 (information objects) and PS3.5 (encoding), 2024.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ich_tf.dicom import decoders
from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.elements import integer, text, uid
from ich_tf.dicom.fragments import Fragments
from ich_tf.dicom.header import Header
from ich_tf.dicom.padding import padding_mask
from ich_tf.dicom.quantity import rescale
from ich_tf.dicom.reasons import DicomError, Reason, Repair
from ich_tf.windows import HU_RANGE

AIR_HU = -1000.0
# In RSNA's damaged files air at -1000 HU became 3096. Metal reaches that, too, but fills no
# twentieth of a slice, and the air around a head fills more.
_WRAPPED_FROM = 3072
_WRAPPED_FRACTION = 0.05
_RSNA_INTERCEPT = 100.0


class PixelFormat(NamedTuple):
    """How a pixel is stored (PS3.5 8.1.1).

    Attributes:
      allocated: BitsAllocated, 8 or 16.
      stored: BitsStored, the low bits that are in use.
      signed: Whether the stored values are signed.
    """

    allocated: int
    stored: int
    signed: bool

    @property
    def dtype(self) -> str:
        """NumPy's name of the type, without byte order."""
        return f"{'i' if self.signed else 'u'}{self.allocated // 8}"


class Pixels:
    """The pixels of a file: where each frame's lie, found once."""

    def __init__(self, dataset: DataSet) -> None:
        """Checks how the pixels are stored.

        Args:
          dataset: The file.

        Raises:
          DicomError: BAD_HEADER, NO_PIXELS, NO_DECODER or TRUNCATED_PIXELS.
        """
        self._dataset = dataset
        self._frames = integer(dataset, "NumberOfFrames", 1)
        self._format = _pixel_format(dataset)
        syntax = uid(dataset.syntax)
        if not syntax.is_transfer_syntax:
            raise DicomError(
                Reason.BAD_HEADER,
                "TransferSyntaxUID is unknown; expected that of a transfer syntax.",
            )
        if dataset.pixel_data is None:
            raise DicomError(
                Reason.NO_PIXELS, "PixelData is missing: the file has none, or is cut before it."
            )
        self._is_compressed = syntax.is_compressed and not syntax.is_deflated
        self._fragments: Fragments | None = None
        self._repairs: tuple[Repair, ...] = ()
        if self._is_compressed:
            if not decoders.can_decode(syntax):
                raise DicomError(Reason.NO_DECODER, decoders.why_not(syntax))
            self._fragments = Fragments(dataset, self._frames)
            self._repairs = self._fragments.repairs
        elif self._excess_bytes() > 1:  # one makes the length even
            self._repairs = (Repair.PADDING_EXCESS,)

    def hounsfield_units(
        self, dataset: DataSet, header: Header
    ) -> tuple[np.ndarray, tuple[Repair, ...], str]:
        """Reads the pixels of one slice.

        Args:
          dataset: The data set of the slice: the file's, or one of its frames'.
          header: Header of the slice.

        Returns:
          Hounsfield units, float32 [rows, columns]; the repairs that were applied; and the
          decoder, empty if the pixels were not compressed.

        Raises:
          DicomError: If the pixels cannot be read whole, or are no Hounsfield units.
        """
        slope, intercept = rescale(dataset)
        raw, decoder = self._raw(header)
        bits, signed = self._format.stored, self._format.signed
        stored = self._in_use(raw)
        repairs = self._repairs
        if bits == 12 and not signed and slope == 1 and _is_wrapped(stored, intercept):
            # Values above 3095 wrapped around when these files were made, and the intercept was
            # lost; known from RSNA's stage-2 data.
            hu = ((stored + np.uint16(1000)) & np.uint16(0x0FFF)).astype(np.float32)
            intercept = -1000.0
            repairs = (*repairs, Repair.RSNA_12BIT)
        else:
            hu = stored.astype(np.float32)
        if slope != 1.0:
            hu *= np.float32(slope)
        if intercept != 0.0:
            hu += np.float32(intercept)
        # Padding below air is clipped later, with everything else; above air, it would shine.
        if hu[np.ix_((0, -1), (0, -1))].max() > AIR_HU:
            padding = padding_mask(dataset, raw, stored, signed=signed)
            if padding is not None and hu[padding].max() > AIR_HU:
                hu[padding] = AIR_HU
                repairs = (*repairs, Repair.PADDING)
        check_plausible(hu, text(dataset, "PhotometricInterpretation"))
        return hu, repairs, decoder

    def stored_values(self, header: Header) -> np.ndarray:
        """Reads the stored values of one slice, integers [rows, columns], nothing repaired.

        Args:
          header: Header of the slice.

        Raises:
          DicomError: If the pixels cannot be read whole.
        """
        return self._in_use(self._raw(header)[0])

    def _in_use(self, raw: np.ndarray) -> np.ndarray:
        """The bits that are in use: those above BitsStored may hold anything (PS3.5 8.1.1)."""
        shift = self._format.allocated - self._format.stored
        # Shifting extends the sign as well.
        return np.right_shift(np.left_shift(raw, shift), shift) if shift else raw

    def _raw(self, header: Header) -> tuple[np.ndarray, str]:
        """The pixels of a frame as they are in the file, [rows, columns], and the decoder."""
        if self._fragments is None:
            return self._uncompressed(header), ""
        decoded = decoders.decode(
            self._fragments,
            uid(self._dataset.syntax),
            header.rows,
            header.columns,
            max(0, header.frame - 1),
            self._format.allocated // 8,
        )
        return decoded.pixels.astype(self._format.dtype, copy=False), decoded.decoder

    def _uncompressed(self, header: Header) -> np.ndarray:
        pixel_data = self._dataset.pixel_data
        assert pixel_data is not None
        size, big = self._frame_bytes(), self._dataset.big
        at = max(0, header.frame - 1) * size
        # PS3.5 annex A.3: 8-bit pixels in 16-bit words are swapped in big endian byte order.
        swapped = big and self._format.allocated == 8 and pixel_data.kind == b"OW"
        first = at - at % 2 if swapped else at
        length = size + size % 2 + at % 2 if swapped else size
        raw = self._dataset.content.part(pixel_data.start + first, length)
        if len(raw) < at - first + size:
            raise DicomError(
                Reason.TRUNCATED_PIXELS, "became shorter while it was read: it is cut by now."
            )
        if swapped:
            raw = np.frombuffer(raw, "<u2", len(raw) // 2).byteswap().tobytes()
            if len(raw) < at - first + size:
                raise DicomError(
                    Reason.BAD_HEADER, "its 8-bit pixels are in words, and have an odd number."
                )
        dtype = np.dtype((">" if big else "<") + self._format.dtype)
        count = header.rows * header.columns
        stored = np.frombuffer(raw, dtype, count=count, offset=at - first)
        return stored.reshape(header.rows, header.columns)

    def _frame_bytes(self) -> int:
        rows, columns = integer(self._dataset, "Rows"), integer(self._dataset, "Columns")
        return rows * columns * self._format.allocated // 8

    def _excess_bytes(self) -> int:
        """Number of bytes after the last frame.

        Raises:
          DicomError: TRUNCATED_PIXELS, or BAD_HEADER.
        """
        dataset, frame_bytes = self._dataset, self._frame_bytes()
        pixel_data, expected = dataset.pixel_data, self._frames * frame_bytes
        assert pixel_data is not None
        length = pixel_data.length
        if length is None:
            raise DicomError(
                Reason.BAD_HEADER,
                "PixelData is encapsulated; TransferSyntaxUID is that of uncompressed pixels.",
            )
        there = min(length, dataset.content.size - pixel_data.start)
        needed = (
            f"{self._frames} x {integer(dataset, 'Rows')} x {integer(dataset, 'Columns')} pixels "
            f"of {self._format.allocated} bits need"
        )
        if there < expected:
            # A file that is cut, or a header that is wrong.
            found = f"{there} bytes"
            if there < length:
                found = f"{there} of its {length} bytes, since the file is cut"
            raise DicomError(
                Reason.TRUNCATED_PIXELS, f"PixelData has {found}; {needed} {expected}."
            )
        # PS3.5 8.1.1 has readers ignore what follows; another frame is none of that.
        if length - expected >= frame_bytes:
            raise DicomError(
                Reason.BAD_HEADER,
                f"PixelData has {length} bytes; {needed} no more than {expected}.",
            )
        return length - expected


def _pixel_format(dataset: DataSet) -> PixelFormat:
    allocated, stored = integer(dataset, "BitsAllocated"), integer(dataset, "BitsStored")
    if allocated not in (8, 16) or not 0 < stored <= allocated:
        raise DicomError(
            Reason.BAD_HEADER,
            f"BitsAllocated {allocated}, BitsStored {stored}; expected 8 or 16, and no more "
            "stored than allocated.",
        )
    high = integer(dataset, "HighBit", stored - 1)
    if high != stored - 1:
        raise DicomError(
            Reason.BAD_HEADER,
            f"HighBit is {high}, BitsStored {stored}; expected a HighBit of {stored - 1}: others "
            "are retired.",
        )
    signed = integer(dataset, "PixelRepresentation")
    if signed not in (0, 1):
        raise DicomError(Reason.BAD_HEADER, f"PixelRepresentation is {signed}; expected 0 or 1.")
    return PixelFormat(allocated, stored, signed == 1)


def _is_wrapped(stored: np.ndarray, intercept: float) -> bool:
    """Whether 12-bit pixels look as RSNA's damaged files do, of slope 1 and an intercept near 0."""
    if abs(intercept) >= _RSNA_INTERCEPT:
        return False
    return np.count_nonzero(stored >= _WRAPPED_FROM) > _WRAPPED_FRACTION * stored.size


def check_plausible(hu: np.ndarray, photometric: str = "") -> None:
    """Checks that pixels may be those of a head or a phantom.

    Args:
      hu: Hounsfield units, float32 [H, W].
      photometric: PhotometricInterpretation of the file.

    Raises:
      DicomError: HU_IMPLAUSIBLE.
    """
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE, f"every pixel is {low:g} HU; expected a head or a phantom."
        )
    if low >= HU_RANGE[1] or high <= HU_RANGE[0]:
        raise DicomError(
            Reason.HU_IMPLAUSIBLE,
            f"its pixels have {low:g} to {high:g} HU; expected a head or a phantom, between "
            f"{HU_RANGE[0]:g} and {HU_RANGE[1]:g}.",
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
