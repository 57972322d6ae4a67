"""The bytes of a DICOM file -> datasets, one for each slice.

Most files are read by `fast_parser`, the others by pydicom. An enhanced multi-frame file (PS3.3
C.7.6.16) becomes a dataset for each frame, with that frame's functional groups at the top level.
"""

from __future__ import annotations

import copy
import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_tf.dicom.elements import PARSE_ERRORS, AnyDataset, integer, tag_of
from ich_tf.dicom.fast_parser import PlainDataset, read_plain
from ich_tf.dicom.reasons import DicomError, Reason

# Enhanced CT holds a series in a file; the longest head CT has some hundred slices.
MAX_FRAMES = 2000
# Largest size that a deflated file may inflate to: a few kilobytes can claim gigabytes.
MAX_INFLATED_BYTES = 192 * 2**20
# The meta information ends within this many bytes.
_META_BYTES = 4096
# A header of a hundred elements has four kilobytes; a longer one is left to pydicom.
_HEADER_BYTES = 16384

# Every element that is ever read, besides the pixel data.
_KEYWORDS = (
    "ImageType",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "Manufacturer",
    "BurnedInAnnotation",
    "SeriesDescription",
    "ConvolutionKernel",
    "SliceThickness",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "ContrastBolusRoute",
    "ContrastBolusIngredient",
    "ContrastBolusVolume",
    "ContrastBolusTotalDose",
    "ContrastFlowRate",
    "ContrastBolusIngredientConcentration",
    "SeriesNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "InstanceNumber",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
TAGS = frozenset(map(tag_of, _KEYWORDS))
_PER_FRAME = tag_of("PerFrameFunctionalGroupsSequence")
# Functional groups of enhanced CT that hold what other files have at the top level.
_MACROS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
}


def parse(data: bytes) -> AnyDataset:
    """Parses a whole file.

    Raises:
      DicomError: NOT_DICOM or TOO_LARGE.
    """
    plain = read_plain(data, TAGS, with_pixels=True)
    return _pydicom(io.BytesIO(data)) if plain is None or _PER_FRAME in plain else plain


def parse_header(file: BinaryIO) -> AnyDataset:
    """Parses a file without its pixel data.

    Args:
      file: Seekable binary file, positioned at its start.

    Raises:
      DicomError: NOT_DICOM or TOO_LARGE.
    """
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    plain = read_plain(start, TAGS, with_pixels=False)
    if plain is None or _PER_FRAME in plain:
        return _pydicom(file, stop_before_pixels=True, specific_tags=list(TAGS))
    return plain


def frames(dataset: AnyDataset, wanted: int | None = None) -> Iterator[tuple[int, AnyDataset]]:
    """Splits a file into datasets of one slice each.

    Args:
      dataset: The file.
      wanted: The only frame to return; None for all.

    Yields:
      The frame's number, from 1, and its dataset; (0, dataset) for a file of a single slice.

    Raises:
      DicomError: MULTI_FRAME, TOO_LARGE or BAD_HEADER.
    """
    count = integer(dataset, "NumberOfFrames", 1)
    if isinstance(dataset, PlainDataset) or _PER_FRAME not in dataset:
        if count != 1:
            raise DicomError(
                Reason.MULTI_FRAME,
                f"NumberOfFrames is {count} without functional groups, which hold each frame's "
                "position; expected 1.",
            )
        if not wanted:
            yield 0, dataset
        return
    if not 1 <= count <= MAX_FRAMES:
        raise DicomError(
            Reason.TOO_LARGE, f"NumberOfFrames is {count}; expected 1 to {MAX_FRAMES}."
        )
    try:
        yield from _enhanced_frames(dataset, count, wanted)
    except DicomError:
        raise
    # pydicom raises OSError too, where a sequence ends too soon.
    except (OSError, *PARSE_ERRORS) as error:
        raise DicomError(
            Reason.BAD_HEADER,
            f"its functional groups cannot be read ({type(error).__name__}).",
        ) from error


def _enhanced_frames(
    dataset: FileDataset, count: int, wanted: int | None
) -> Iterator[tuple[int, AnyDataset]]:
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    per_frame = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(per_frame) != count:
        raise DicomError(
            Reason.BAD_HEADER,
            f"NumberOfFrames is {count}, but {len(per_frame)} frames are described.",
        )
    for frame, groups in enumerate(per_frame, 1):
        if wanted is not None and frame != wanted:
            continue
        flat = copy.copy(dataset)
        for keyword, macro in _MACROS.items():
            for group in (groups, *shared[:1]):
                items = group.get(macro)
                if items and keyword in items[0]:
                    flat[keyword] = items[0][keyword]
                    break
        yield frame, flat


def _pydicom(file: BinaryIO, **options: Any) -> FileDataset:
    try:
        return pydicom.dcmread(_inflated(file), **options)
    except DicomError:
        raise
    except (OSError, *PARSE_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not pydicom's
        raise DicomError(
            Reason.NOT_DICOM, f"no DICOM file, or a broken one ({type(error).__name__})."
        ) from error


def _inflated(file: BinaryIO) -> BinaryIO:
    """The file itself, or the inflated content of a deflated file, of bounded size."""
    start = file.read(_META_BYTES)
    file.seek(0)
    if not start:
        raise DicomError(Reason.NOT_DICOM, "is empty; expected a DICOM file.")
    deflated = DeflatedExplicitVRLittleEndian.encode()
    if deflated not in start:
        return file
    # The length of the meta information is its first element (PS3.10 7.1).
    end = 144 + int.from_bytes(start[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    file.seek(end)
    content = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise DicomError(
            Reason.TOO_LARGE,
            f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB; expected one series at most.",
        )
    plain = ExplicitVRLittleEndian.encode().ljust(len(deflated), b"\0")
    return io.BytesIO(start[:end].replace(deflated, plain) + content)
