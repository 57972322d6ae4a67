"""A picture of a slice as a secondary capture (PS3.3 A.8), in the place of its slice."""

from __future__ import annotations

import highdicom
import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import format_number_as_ds

from ich_tf.dicom.geometry import edge_directions
from ich_tf.reporting.algorithm import LONG_STRING, MAKER, NOTE, printable
from ich_tf.reporting.document import encode, lenient
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.identity import SourceImage

SERIES_NUMBER = 9100


def capture(
    findings: SeriesFindings,
    place: int,
    picture: np.ndarray,
    comment: str,
    *,
    kind: str = "capture",
    number: int = 1,
    scale: int = 1,
) -> bytes:
    """Writes a picture of a slice as DICOM.

    Args:
      findings: Series of the slice.
      place: Place of the slice in the series, from 0.
      picture: Slice with what is drawn on it, uint8 [rows, columns, 3]; rows below those of the
        slice hold text.
      comment: What the picture shows, in words.
      kind: What is drawn, by which several pictures of a slice differ.
      number: Number of the picture in its series, from 1.
      scale: Number of pixels of the picture for each row and column of the slice.
    """
    image, algorithm, uids = findings.images[place], findings.algorithm, findings.uids
    edges = edge_directions(image.orientation)
    with lenient():
        written = SCImage(
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system=highdicom.CoordinateSystemNames.PATIENT,
            study_instance_uid=findings.study.study_instance_uid,
            series_instance_uid=uids.uid("captures"),
            series_number=SERIES_NUMBER + findings.number,
            sop_instance_uid=uids.uid("captures", image.key, place, kind),
            instance_number=number,
            manufacturer=MAKER,
            patient_orientation=(edges["right"], edges["bottom"]),
            pixel_spacing=(image.spacing_mm[0] / scale, image.spacing_mm[1] / scale),
            content_qualification="RESEARCH",
            series_description=f"{MAKER} captures. {NOTE}"[:LONG_STRING],
        )
        # No text that identifies the patient (PS3.3 C.7.6.1.1.1).
        written.BurnedInAnnotation = "NO"
        # Without a body part, or with one of a pair, Laterality would be asked for (C.7.3.1).
        written.BodyPartExamined = "HEAD"
        written.ImageComments = printable(f"{NOTE}. {comment}")
        written.DerivationDescription = printable(f"{algorithm.name}, version {algorithm.version}")
        for keyword, value in findings.study.lossy().items():
            setattr(written, keyword, value)
        _place(written, image, scale, findings.study.position_reference)
        _refer(written, image)
    return encode(written, findings.study, algorithm)


def _place(written: Dataset, image: SourceImage, scale: int, position_reference: str) -> None:
    """Says where the picture lies in the patient (C.7.4.1, C.7.6.2)."""
    written.FrameOfReferenceUID = image.frame_of_reference_uid
    written.PositionReferenceIndicator = position_reference
    # Centre of the first pixel, which a larger scale moves towards the corner.
    shift = (1 / scale - 1) / 2
    row, column = np.array(image.orientation[:3]), np.array(image.orientation[3:])
    position = np.array(image.position_mm)
    position = position + shift * (row * image.spacing_mm[1] + column * image.spacing_mm[0])
    written.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
    written.ImageOrientationPatient = [
        format_number_as_ds(float(value)) for value in image.orientation
    ]
    written.SliceThickness = None


def _refer(written: Dataset, image: SourceImage) -> None:
    """Names the image that the picture was made of (C.12.4, C.12.2)."""
    source = Dataset()
    source.ReferencedSOPClassUID = image.sop_class_uid
    source.ReferencedSOPInstanceUID = image.sop_instance_uid
    instance = Dataset()
    instance.update(source)
    if image.frame:
        source.ReferencedFrameNumber = image.frame
    source.PurposeOfReferenceCodeSequence = [
        _item(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    written.SourceImageSequence = [source]
    series = Dataset()
    series.SeriesInstanceUID = image.series_instance_uid
    series.ReferencedInstanceSequence = [instance]
    written.ReferencedSeriesSequence = [series]


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
