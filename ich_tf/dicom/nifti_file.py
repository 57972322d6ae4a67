"""A NIfTI volume in Hounsfield units -> its axial slices, as those of an enhanced DICOM file."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from ich_tf.dicom.header import Header
from ich_tf.dicom.nifti_content import read_start, read_voxels
from ich_tf.dicom.nifti_geometry import axial_layout
from ich_tf.dicom.nifti_header import HEADER_BYTES, read_nifti_header
from ich_tf.dicom.nifti_names import ids_of_name
from ich_tf.dicom.pixels import check_plausible
from ich_tf.dicom.reader import Slice
from ich_tf.dicom.reasons import DicomError, Reason, Repair

# A volume in Hounsfield units has air: around the head, or in the sinuses. One without was
# windowed, scaled or shifted, or shows something else.
_AIR_BELOW_HU = -200.0
# Half of what is denser than air is brain, skin and fat. Values that lack the intercept of -1024
# have it above this.
_MAX_MEDIAN_HU = 500.0
# Voxels of which the median is taken, at most along each axis.
_SAMPLED = 64


class NiftiFile:
    """A NIfTI file; its slices are numbered from 1, in the order of the file.

    Attributes:
      sha256: SHA-256 of the file, hexadecimal; empty until its voxels were read.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Reads the header.

        Args:
          file: Seekable binary file, which has to stay open until the voxels were read.
          name: Path of the file within the source, which gives its ids.

        Raises:
          DicomError: If it is no axial volume with a valid geometry.
        """
        self._file = file
        self._header = read_nifti_header(read_start(file, HEADER_BYTES))
        self._layout = axial_layout(self._header)
        self._patient, self._series = ids_of_name(name)
        self._voxels: np.ndarray | None = None
        self._repairs: tuple[Repair, ...] = ()
        self.sha256 = ""

    @property
    def numbers(self) -> range:
        """Numbers of the slices, from 1."""
        return range(1, self._header.shape[self._layout.slices] + 1)

    def scan(self) -> tuple[list[Header], dict[int, DicomError]]:
        """Makes the headers of all slices, and reads the voxels: what is wrong is said once.

        Returns:
          The headers; and no errors, which are those of whole volumes.

        Raises:
          DicomError: As for `load`.
        """
        self.load()
        return [self._slice_header(frame) for frame in self.numbers], {}

    def load(self) -> np.ndarray:
        """Reads the voxels, stored values, indexed by i, j and k.

        Raises:
          DicomError: If they cannot be read whole, or are no Hounsfield units.
        """
        if self._voxels is None:
            header = self._header
            slice_bytes = header.num_bytes // len(self.numbers)
            content = read_voxels(self._file, header.offset, header.num_bytes, slice_bytes)
            voxels: np.ndarray = np.ndarray(header.shape, header.dtype, content.data, order="F")
            self._check_hounsfield(voxels)
            self._voxels, self.sha256 = voxels, content.sha256
            self._repairs = (Repair.PADDING_EXCESS,) if content.excess else ()
        return self._voxels

    def slice(self, frame: int) -> Slice:
        """Reads a slice into Hounsfield units.

        Args:
          frame: Number of the slice, from 1.

        Raises:
          DicomError: If there is none, or its values are none.
        """
        if frame not in self.numbers:
            raise DicomError(Reason.BAD_HEADER, f"has no slice {frame}.")
        image = self._layout.image(self.load(), frame - 1)
        with np.errstate(over="ignore"):  # a float64 beyond all units
            hu = image.astype(np.float32, order="C")
        self._scale(hu)
        bad = np.count_nonzero(~np.isfinite(hu))
        if bad:
            raise DicomError(
                Reason.HU_IMPLAUSIBLE,
                f"{bad} of its {hu.size} pixels are no numbers; expected Hounsfield units.",
            )
        check_plausible(hu)
        return Slice(self._slice_header(frame), hu, self._repairs)

    def _slice_header(self, frame: int) -> Header:
        layout, shape = self._layout, self._header.shape
        return Header(
            image_id=f"{self._series}/{frame}",
            patient_id=self._patient,
            study_id=self._series,
            series_id=self._series,
            rows=shape[layout.rows],
            columns=shape[layout.columns],
            position_mm=layout.position(frame - 1),
            orientation=layout.orientation,
            spacing_mm=layout.spacing_mm,
            frame=frame,
            instance=frame,
        )

    def _scale(self, values: np.ndarray) -> None:
        """Turns stored values into Hounsfield units, in place; as of DICOM files, to the bit."""
        if self._header.slope != 1.0:
            values *= np.float32(self._header.slope)
        if self._header.intercept != 0.0:
            values += np.float32(self._header.intercept)

    def _check_hounsfield(self, voxels: np.ndarray) -> None:
        """Raises the reason why no slice of a volume can be in Hounsfield units.

        Windowed slices cannot be told one by one: a slice of the vertex has no air, either.
        """
        # Those of two numbers that are not nan.
        low, high = np.fmin.reduce(voxels, axis=None), np.fmax.reduce(voxels, axis=None)
        steps = tuple(slice(None, None, -(-length // _SAMPLED)) for length in voxels.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            sample = voxels[steps].astype(np.float32).ravel()
            ends = np.array([low, high]).astype(np.float32)
            self._scale(sample)
            self._scale(ends)
        if np.isnan(ends).any():
            raise DicomError(
                Reason.HU_IMPLAUSIBLE, "none of its voxels is a number; expected Hounsfield units."
            )
        if ends[0] == ends[1]:
            raise DicomError(
                Reason.HU_IMPLAUSIBLE, f"every voxel is {ends[0]:g} HU; expected a head."
            )
        if ends[0] > _AIR_BELOW_HU:
            raise DicomError(
                Reason.NOT_HOUNSFIELD,
                f"its values are {ends[0]:g} to {ends[1]:g}, none of which is air (below "
                f"{_AIR_BELOW_HU:g} HU); expected Hounsfield units. Windowed or scaled grey values "
                "cannot be turned back, and masks and other modalities are no CT.",
            )
        dense = sample[sample > _AIR_BELOW_HU]
        if len(dense) and np.median(dense) > _MAX_MEDIAN_HU:
            raise DicomError(
                Reason.NOT_HOUNSFIELD,
                f"half of what is denser than air has more than {np.median(dense):g} HU; expected "
                "soft tissue. Its values lack an intercept, or are no Hounsfield units.",
            )
