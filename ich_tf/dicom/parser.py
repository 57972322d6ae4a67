"""The bytes of a DICOM file -> its wanted data elements, and where its pixels lie."""

from __future__ import annotations

from collections.abc import Collection

from ich_tf.dicom.content import MAX_HEADER_BYTES, Buffer, Content
from ich_tf.dicom.data_set import DataSet, Element, End, pixel_data_at, walk
from ich_tf.dicom.elements import tag_of
from ich_tf.dicom.encoding import Encoding, find_data_set, inflate
from ich_tf.dicom.reasons import DicomError, Reason

# Every element that is ever read, besides the pixel data.
_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
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
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
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
    "ContentTime",
    "AcquisitionDateTime",
    "InstanceNumber",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
TAGS = frozenset(map(tag_of, _KEYWORDS))


def parse(content: Content, tags: Collection[int] = TAGS) -> DataSet:
    """Parses a file up to its pixel data.

    Args:
      content: The file; only as much of it is read as its header needs.
      tags: Tags of the elements to keep, group * 65536 + element.

    Raises:
      DicomError: NOT_DICOM, BAD_HEADER or TOO_LARGE.
    """
    for data, is_whole in content.heads():
        encoding = find_data_set(data)
        if encoding.deflated:
            content = inflate(content, encoding.at)
            (data, is_whole), *_ = content.heads()
            encoding = encoding._replace(at=0)
        dataset, ended, at = _parse(content, data, encoding, tags)
        if ended in (End.PIXELS, End.ITEM, End.TOO_MANY) or is_whole:
            break
    _check_end(dataset, encoding, ended, at, is_whole)
    return dataset


def _parse(
    content: Content, data: Buffer, encoding: Encoding, tags: Collection[int]
) -> tuple[DataSet, End, int]:
    elements: dict[int, Element] = {}
    implicit, big = encoding.implicit(data), encoding.big
    ended, at = walk(data, encoding.at, len(data), tags, elements, implicit=implicit, big=big)
    dataset = DataSet(elements, content, encoding.syntax, big, repairs=encoding.repairs)
    if ended is End.PIXELS:
        if at + 12 > len(data):
            return dataset, End.CUT, at
        dataset.pixel_data = pixel_data_at(data, at, implicit=implicit, big=big)
    return dataset, ended, at


def _check_end(dataset: DataSet, encoding: Encoding, ended: End, at: int, is_whole: bool) -> None:
    """Raises the reason why a walk that should have come to the pixels or to the end did not."""
    is_cut = ended is End.CUT or (ended is End.DATA and dataset.content.is_cut)
    if not dataset.elements and (encoding.repairs or (at == encoding.at and not is_cut)):
        raise DicomError(
            Reason.NOT_DICOM, "is no DICOM file: it has none of the elements of an image."
        )
    if ended is End.TOO_MANY or not (is_whole or ended in (End.PIXELS, End.ITEM)):
        raise DicomError(
            Reason.TOO_LARGE,
            f"its header has too many data elements, or more than {MAX_HEADER_BYTES >> 20} MiB.",
        )
    if is_cut:
        raise DicomError(
            Reason.BAD_HEADER,
            f"is cut or broken: its header ends within the data element before byte {at:,}.",
        )
    if ended is End.ITEM:
        raise DicomError(
            Reason.BAD_HEADER, f"a sequence ends at byte {at:,} of its header that never began."
        )
