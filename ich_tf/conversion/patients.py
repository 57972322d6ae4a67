"""The patient of a slice, who is kept in one split: by PatientID, by study, or by folder."""

from __future__ import annotations

from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import DicomError, Reason

NO_PATIENT = (
    "PatientID is missing or empty, so that nothing says whose slice it is; --patient_from=study "
    "takes the study for the patient, --patient_from=folder the folder."
)


def patient_of(path: str, header: Header, patient_from: str) -> str:
    """Id of a slice's patient.

    Args:
      path: Path of its file from the folder of all inputs.
      header: Header of the slice.
      patient_from: `id` for the PatientID; `study` for the study instance UID; `folder` for the
        first folder of the file's path, so that the studies below it stay together. Files that
        lie in no folder have one patient.

    Raises:
      DicomError: BAD_HEADER, if the PatientID is asked for and there is none.

    Examples:
      >>> header = Header("1.2", "", "1.3", "1.4", 2, 2, (0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1))
      >>> [patient_of("anna/2019/1.dcm", header, kind) for kind in ("study", "folder")]
      ['1.3', 'anna']
    """
    if patient_from == "study":
        return header.study_id
    if patient_from == "folder":
        folder, slash, _ = path.partition("/")
        return folder if slash else ""
    if not header.patient_id:
        raise DicomError(Reason.BAD_HEADER, NO_PATIENT)
    return header.patient_id
