"""Ids of a DICOM file, read without the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_tf.dicom.content import Content
from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.elements import tag_of, text
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.parser import parse
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.gateway.ports import Refused

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "AccessionNumber"),
    "Modality",
)
_TAGS = frozenset(map(tag_of, _KEYWORDS))
# UIDs have 64 characters (PS3.5 9.1), ids 64 of up to 4 bytes each.
_MAX_ID = 256


@dataclass(frozen=True)
class Ids:
    """Ids of a file.

    Attributes:
      sop_class: SOPClassUID; empty if there is none.
      sop_uid: SOPInstanceUID.
      study_uid: StudyInstanceUID.
      patient_id: PatientID; empty if there is none.
      accession: AccessionNumber; empty if there is none.
      modality: Modality; empty if there is none.
    """

    sop_class: str
    sop_uid: str
    study_uid: str
    patient_id: str
    accession: str
    modality: str


def read_ids(path: Path) -> Ids:
    """Reads the ids of a file.

    Raises:
      Refused: If it is no DICOM file, or an id is missing.
    """
    try:
        with open(path, "rb") as file, guarded():
            dataset = parse(Content(file), _TAGS)
    except DicomError as error:
        if error.reason is Reason.UNREADABLE:
            raise Refused("STATE", f"the file {error}") from error
        raise Refused("NOT_DICOM", f"the file {error}") from error
    return Ids(
        sop_class=text(dataset, "SOPClassUID"),
        sop_uid=_id(dataset, "SOPInstanceUID"),
        study_uid=_id(dataset, "StudyInstanceUID"),
        patient_id=text(dataset, "PatientID")[:_MAX_ID],
        accession=text(dataset, "AccessionNumber")[:_MAX_ID],
        modality=text(dataset, "Modality")[:_MAX_ID],
    )


def _id(dataset: DataSet, keyword: str) -> str:
    value = text(dataset, keyword)
    if not 0 < len(value) <= _MAX_ID:
        raise Refused("NO_IDS", f"{keyword} is missing, or longer than any UID.")
    return value
