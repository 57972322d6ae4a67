"""The patient of a slice, who is kept in one split: by PatientID, by study, or by folder."""

from __future__ import annotations

from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import Source

PATIENT_SOURCES = ("id", "study", "folder")
NO_PATIENT = (
    "PatientID is missing or empty, so that nothing says whose slice it is; --patient_from=study "
    "takes the study for the patient, --patient_from=folder the folder."
)


def patient_of(source: Source, header: Header, patient_from: str) -> str:
    """Id of a slice's patient.

    Args:
      source: File of the slice.
      header: Header of the slice.
      patient_from: `id` for the PatientID; `study` for the study instance UID; `folder` for the
        first folder of the file's path, so that the studies below it stay together. Files that
        lie in no folder have one patient.

    Raises:
      DicomError: BAD_HEADER, if the PatientID is asked for and there is none.

    Examples:
      >>> from pathlib import Path
      >>> header = Header("1.2", "", "1.3", "1.4", 2, 2, (0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1))
      >>> source = Source(Path("scans"), "anna/2019/1.dcm")
      >>> [patient_of(source, header, patient_from) for patient_from in ("study", "folder")]
      ['1.3', 'anna']
    """
    if patient_from == "study":
        return header.study_id
    if patient_from == "folder":
        folder, slash, _ = source.name.partition("/")
        return folder if slash else ""
    if not header.patient_id:
        raise DicomError(Reason.BAD_HEADER, NO_PATIENT)
    return header.patient_id
