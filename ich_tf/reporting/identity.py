"""What a result carries of its source: patient, study, frame of reference and images.

Values are copied as the bytes that the source file holds, together with its character set: no name
is decoded, and none can be lost or end up in a log. The equipment of a result is its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, BinaryIO

from ich_tf.dicom.content import Content
from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.elements import tag_of
from ich_tf.dicom.elements import uid as uid_of
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header import Header
from ich_tf.dicom.parser import parse
from ich_tf.dicom.series import pass_of
from ich_tf.errors import InputError
from ich_tf.reporting.uids import derived_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
# Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), without
# sequences. An object has those of type 2 even where the source lacks them.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OPTIONAL = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID", "TypeOfPatientID",
    "PatientBirthTime", "EthnicGroup", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
COPIED = (*_TYPE_2, *_OPTIONAL)
# Moments of the source, the first that is there being that of the results.
_MOMENTS = (
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)
_IMAGE = (
    "SOPClassUID", "FrameOfReferenceUID", "PositionReferenceIndicator", "AcquisitionDateTime",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
# What the source says of compression that it lost detail to, and what each of its values has to be.
_LOSSY = {
    "LossyImageCompression": r"0[01]",
    "LossyImageCompressionRatio": r"\d+\.?\d*|\.\d+",
    "LossyImageCompressionMethod": r"[A-Z\d_ ]{1,16}",
}
# JPEG Baseline and Extended, which lose detail whether the header says so or not.
_LOSES_DETAIL = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
# What a reference can hold. RSNA's `ID_...` are no UIDs, and yet name their images.
_REFERABLE = re.compile(r"[!-~]+")
_TAGS = frozenset(
    tag_of(keyword) for keyword in (*COPIED, *_IMAGE, *(word for pair in _MOMENTS for word in pair))
)
_KEPT = frozenset(map(tag_of, (*COPIED, *_LOSSY)))
# A moment that says nothing, where an object must have one and its source has none.
UNKNOWN_MOMENT = ("19000101", "000000")


@dataclass(frozen=True)
class SourceImage:
    """A slice that a result refers to.

    Attributes:
      sop_class_uid: UID of its SOP class.
      sop_instance_uid: UID of its file.
      series_instance_uid: UID of its series, as the file has it.
      frame_of_reference_uid: UID of the patient coordinates that the position is in.
      frame: Number of the frame in a multi-frame file, from 1; 0 in a file of one slice.
      rows, columns: Number of pixels.
      position_mm, orientation, spacing_mm: As in `dicom.Header`.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    frame: int
    rows: int
    columns: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]

    @property
    def key(self) -> str:
        """SOP instance UID, with the frame where there are several."""
        return f"{self.sop_instance_uid}/{self.frame}" if self.frame else self.sop_instance_uid

    def reference(self, study_instance_uid: str) -> Dataset:
        """Makes what highdicom asks of an image that is referred to: ids, and no patient."""
        from pydicom.dataset import Dataset

        image = Dataset()
        image.SOPClassUID = self.sop_class_uid
        image.SOPInstanceUID = self.sop_instance_uid
        image.StudyInstanceUID = study_instance_uid
        image.SeriesInstanceUID = self.series_instance_uid
        for keyword in _TYPE_2:
            if keyword != "StudyInstanceUID":
                setattr(image, keyword, "")
        image.FrameOfReferenceUID = self.frame_of_reference_uid
        image.Modality = "CT"
        image.Rows, image.Columns = self.rows, self.columns
        return image


@dataclass(frozen=True)
class SourceStudy:
    """The study that results belong to.

    Attributes:
      study_instance_uid: UID of the study.
      elements: Raw values of `COPIED` and of the compression of the source, by tag.
      position_reference: PositionReferenceIndicator as in the file.
      moment: Date and time of the results' content, DA and TM: those of the acquisition.
    """

    study_instance_uid: str
    elements: Mapping[int, bytes] = field(default_factory=dict)
    position_reference: str = ""
    moment: tuple[str, str] = UNKNOWN_MOMENT

    def lossy(self) -> dict[str, str | Sequence[str]]:
        """What the source says of compression that it lost detail to, by keyword."""
        said: dict[str, str | Sequence[str]] = {}
        for keyword, pattern in _LOSSY.items():
            data = self.elements.get(tag_of(keyword), b"")
            texts = [text.strip(" \0") for text in data.decode("latin-1").split("\\")]
            if all(re.fullmatch(pattern, text, re.ASCII) for text in texts):
                said[keyword] = texts if len(texts) > 1 else texts[0]
        return said

    def stamp(self, result: Dataset) -> None:
        """Files an object in this study, with the moment of its source instead of the present.

        Args:
          result: Object to change.
        """
        from pydicom.datadict import dictionary_VR
        from pydicom.dataelem import RawDataElement
        from pydicom.tag import Tag

        for keyword in COPIED:
            if keyword in result:
                delattr(result, keyword)
            if keyword in _TYPE_2:
                setattr(result, keyword, "")
            value = self.elements.get(tag_of(keyword), b"")
            if value.strip(b" \0"):
                tag, vr = Tag(keyword), dictionary_VR(keyword)
                value += b"\0" if vr == "UI" and len(value) % 2 else b" " * (len(value) % 2)
                # Raw: pydicom writes the bytes as they are.
                result[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        if not re.fullmatch(r"[+-]\d{4}", str(result.get("TimezoneOffsetFromUTC", "+0000"))):
            del result.TimezoneOffsetFromUTC
        if "DeidentificationMethod" not in result and "PatientIdentityRemoved" in result:
            # The one without the other is an error (PS3.3 C.7.1.1).
            del result.PatientIdentityRemoved
        for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
            if keyword in result:
                delattr(result, keyword)
        # highdicom notes the moment at which it made the object.
        if "ContributingEquipmentSequence" in result:
            del result.ContributingEquipmentSequence
        for kind, text in zip(("Date", "Time"), self.moment, strict=True):
            for keyword in (f"Content{kind}", f"{kind}OfSecondaryCapture"):
                if keyword in result:
                    setattr(result, keyword, text)


class SourceFile:
    """What results carry of one file."""

    def __init__(self, file: BinaryIO) -> None:
        """Parses a file.

        Args:
          file: A DICOM file, seekable.

        Raises:
          DicomError: If it cannot be parsed.
        """
        with guarded():
            self._dataset = parse(Content(file), _TAGS)

    def image(self, header: Header) -> SourceImage:
        """Describes a slice of the file.

        Args:
          header: Header of the slice, as `dicom` read it from the file.

        Raises:
          InputError: If its UIDs are such that nothing can refer to the slice.
        """
        uid, series_uid = header.image_id, pass_of(header.series_id)[0]
        frame_of_reference_uid = _text(self._dataset, "FrameOfReferenceUID")
        if header.frame:
            uid = uid.rpartition("/")[0]
        given = filter(None, (uid, series_uid, header.study_id, frame_of_reference_uid))
        for each in given:
            if "\\" in each:
                raise InputError("a UID of its images has several values; expected one.")
            # A slash separates a file from its frame, in `SourceImage.key`.
            if "/" in each or not _REFERABLE.fullmatch(each):
                raise InputError(
                    "a UID of its images has characters that no UID has; expected digits and dots."
                )
        # A file without its class was accepted as CT.
        sop_class_uid = _text(self._dataset, "SOPClassUID") or CT_STORAGE
        if uid_of(sop_class_uid).name == sop_class_uid:
            raise InputError(
                "SOPClassUID of its images is none of the standard; expected a CT image's."
            )
        return SourceImage(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=uid,
            series_instance_uid=series_uid,
            # Slices of one series share their coordinates, whether the file says it or not.
            frame_of_reference_uid=frame_of_reference_uid
            or derived_uid("frame of reference", series_uid),
            frame=header.frame,
            rows=header.rows,
            columns=header.columns,
            position_mm=header.position_mm,
            orientation=header.orientation,
            spacing_mm=header.spacing_mm,
        )

    def study(self, header: Header) -> SourceStudy:
        """Describes the study of the file.

        Args:
          header: Header of one of its slices.
        """
        elements = {
            tag: bytes(element.value)
            for tag, element in self._dataset.elements.items()
            if tag in _KEPT
        }
        if header.transfer_syntax in _LOSES_DETAIL:
            elements[tag_of("LossyImageCompression")] = b"01"
        return SourceStudy(
            study_instance_uid=header.study_id,
            elements=elements,
            position_reference=_reference_point(self._dataset),
            moment=_moment(self._dataset),
        )


def _moment(dataset: DataSet) -> tuple[str, str]:
    """Date and time of the acquisition, or the next best that the file has."""
    whole = _text(dataset, "AcquisitionDateTime").partition(".")[0]
    candidates = [(whole[:8], whole[8:14])]
    candidates += [(_text(dataset, day), _text(dataset, time)) for day, time in _MOMENTS]
    for day, time in candidates:
        if _is_date(day):
            return day, time if _is_time(time) else "000000"
    return UNKNOWN_MOMENT


def _is_date(text: str) -> bool:
    try:
        if not re.fullmatch(r"\d{8}", text, re.ASCII):
            return False
        return bool(date(int(text[:4]), int(text[4:6]), int(text[6:])))
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    return bool(re.fullmatch(r"([01]\d|2[0-3])[0-5]\d[0-5]\d(\.\d{1,6})?", text, re.ASCII))


def _text(dataset: DataSet, keyword: str) -> str:
    element = dataset.get(tag_of(keyword))
    return "" if element is None else bytes(element.value).decode("latin-1").strip(" \0")


def _reference_point(dataset: DataSet) -> str:
    """PositionReferenceIndicator, a defined term in ASCII; empty where it is none."""
    value = _text(dataset, "PositionReferenceIndicator")
    return value if re.fullmatch(r"[ -\[\]-~]{1,64}", value) else ""
