"""A source's DICOM file with other pixels: a derived image of the same geometry and encoding."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.dicom.guard import guarded
from ich_tf.dicom.reader import DicomFile
from ich_tf.dicom.reasons import DicomError, Reason, Repair
from ich_tf.reporting.uids import derived_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_AS_THEY_ARE = ("1.2.840.10008.1.2", _EXPLICIT_LITTLE)
_NOTICE = "SYNTHETIC BLEED INSERTED - NOT FOR CLINICAL USE"
# What names the patient or the visit. Other elements stay, dates and private ones too.
_PATIENT = (
    "PatientBirthDate", "PatientBirthTime", "OtherPatientIDs", "OtherPatientIDsSequence",
    "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientTelephoneNumbers", "PatientTelecomInformation", "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence", "MedicalRecordLocator", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "AdmissionID", "IssuerOfAdmissionIDSequence",
    "RequestAttributesSequence", "ReferencedStudySequence", "ReferencedPatientSequence",
    "PatientComments", "StudyID", "PatientID", "OriginalAttributesSequence",
)  # fmt: skip
_EMPTIED = ("PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "StudyID")


class SourceFile:
    """A file whose slices get other pixels."""

    def __init__(self, data: bytes) -> None:
        """Parses the file.

        Args:
          data: Content of the file.

        Raises:
          DicomError: If it cannot be parsed.
        """
        import pydicom

        self._file = DicomFile(data)
        try:
            with (
                guarded(),
                pydicom.config.disable_value_validation(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                self._dataset = pydicom.dcmread(io.BytesIO(data), force=True)
                self._syntax = str(self._dataset.file_meta.TransferSyntaxUID)
                if self._syntax not in _AS_THEY_ARE:
                    # Values are converted to numbers now, and written in the new encoding later.
                    for _ in self._dataset.iterall():
                        pass
        except (AttributeError, KeyError, ValueError, TypeError, NotImplementedError) as error:
            raise DicomError(
                Reason.BAD_HEADER,
                "its elements cannot be copied; expected a file as PS3.10 has it.",
            ) from error

    def with_changes(
        self, changes: Mapping[int, np.ndarray], study: str, patient_id: str
    ) -> tuple[bytes, str]:
        """Makes a file whose slices differ.

        Pixels without a change keep their stored values; values are clipped to what the file's bits
        can hold. Compressed and big endian files become explicit VR little endian. A lost
        intercept that reading repairs is written as it was meant.

        Args:
          changes: Difference to each slice, HU, float32 [rows, columns], by the number of the
            frame, 0 for a file of one slice.
          study: Text from which the UIDs of the new study follow.
          patient_id: New patient id; empty to keep patient and accession number.

        Returns:
          Content of the file, and its SOP instance UID.

        Raises:
          DicomError: If the pixels cannot be read, or an element cannot be written.
        """
        import pydicom
        from pydicom.uid import UID

        from ich_tf.reporting.document import own_start

        stored = [self._stored(frame, changes.get(frame)) for frame in self._file.numbers]
        repaired = any(is_repaired for _, is_repaired in stored)
        # Archives hold values that no standard allows; pydicom warns of each, and quotes it.
        with guarded(), pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = copy.deepcopy(self._dataset)
            self._set_pixels(dataset, np.stack([pixels for pixels, _ in stored]))
            if repaired:
                dataset.RescaleIntercept = "-1000"
            _mark_as_derived(dataset, keeps_patient=not patient_id)
            uid = derived_uid("inserted", study, str(dataset.get("SOPInstanceUID", "")))
            series_uid = str(dataset.get("SeriesInstanceUID", ""))
            dataset.SOPInstanceUID = UID(uid)
            dataset.SeriesInstanceUID = UID(derived_uid("inserted series", study, series_uid))
            dataset.StudyInstanceUID = UID(derived_uid("inserted study", study))
            dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
            if self._syntax not in _AS_THEY_ARE:
                dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
            if patient_id:
                _replace_patient(dataset, patient_id)
            own_start(dataset)
            file = io.BytesIO()
            implicit = self._syntax == _AS_THEY_ARE[0]
            pydicom.dcmwrite(
                file, dataset, enforce_file_format=False, implicit_vr=implicit, little_endian=True
            )
        return file.getvalue(), uid

    def _stored(self, frame: int, change: np.ndarray | None) -> tuple[np.ndarray, bool]:
        """Stored values of a slice after a change, and whether the intercept was repaired."""
        slice_ = self._file.slice(frame)
        slope, intercept = self._rescale(frame)
        repaired = Repair.RSNA_12BIT in slice_.repairs
        if repaired:
            intercept = -1000.0
        stored = np.rint((slice_.hu.astype(np.float64) - intercept) / slope)
        # Padding that reading repairs may have no stored value for air.
        kept = stored if repaired else self._file.stored_values(frame)
        if change is not None:
            changed = np.clip(np.rint(stored + change / slope), *self._limits())
            kept = np.where(change == 0, kept, changed)
        return np.clip(kept, *self._limits()).astype(np.int64), repaired

    def _rescale(self, frame: int) -> tuple[float, float]:
        """Slope and intercept of a slice."""
        groups = [self._dataset]
        if frame:
            groups += [
                macro
                for name, number in (
                    ("SharedFunctionalGroupsSequence", 0),
                    ("PerFrameFunctionalGroupsSequence", frame - 1),
                )
                if name in self._dataset and len(self._dataset[name].value) > number
                for macro in self._dataset[name][number].get("PixelValueTransformationSequence", [])
            ]
        found = [group for group in groups if "RescaleSlope" in group]
        return float(found[-1].RescaleSlope), float(found[-1].RescaleIntercept)

    def _limits(self) -> tuple[int, int]:
        """Lowest and highest stored value."""
        bits = int(self._dataset.BitsStored)
        if int(self._dataset.PixelRepresentation):
            return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        return 0, (1 << bits) - 1

    def _set_pixels(self, dataset: Dataset, stored: np.ndarray) -> None:
        from pydicom.dataelem import DataElement

        bytes_a_pixel = int(dataset.BitsAllocated) // 8
        kind = "i" if int(dataset.PixelRepresentation) else "u"
        data = stored.astype(f"<{kind}{bytes_a_pixel}").tobytes()
        data += b"\0" * (len(data) % 2)
        # PS3.5 A.2: 16-bit pixels are words.
        dataset[0x7FE00010] = DataElement(0x7FE00010, "OW" if bytes_a_pixel == 2 else "OB", data)
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            if keyword in dataset:
                delattr(dataset, keyword)


def _mark_as_derived(dataset: Dataset, *, keeps_patient: bool) -> None:
    """Notes in the header what the image is (PS3.3 C.7.6.1 and C.8.16.1)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    for keyword in ("ImageType", "FrameType"):
        given = dataset.get(keyword, None) or ([] if keyword == "FrameType" else ["", ""])
        values = [given] if isinstance(given, str) else list(given)
        if values:
            dataset_values = ["DERIVED", *(values[1:] or ["PRIMARY"])]
            dataset_values[1] = dataset_values[1] or "PRIMARY"
            setattr(dataset, keyword, dataset_values)
    dataset.DerivationDescription = _NOTICE
    dataset.ImageComments = _NOTICE
    dataset.SeriesDescription = _NOTICE
    dataset.StudyDescription = _NOTICE
    if "SourceImageSequence" in dataset:
        del dataset.SourceImageSequence
    if keeps_patient and dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID"):
        source = Dataset()
        source.ReferencedSOPClassUID = dataset.SOPClassUID
        source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SourceImageSequence = Sequence([source])


def _replace_patient(dataset: Dataset, patient_id: str) -> None:
    """Gives an image a made-up patient, and takes every name out of it, staff's too."""
    _remove_names(dataset)
    for keyword in _EMPTIED:
        setattr(dataset, keyword, "")
    dataset.PatientID = patient_id
    dataset.PatientName = f"INSERTED^{patient_id}"


def _remove_names(dataset: Dataset) -> None:
    """Removes names of persons and what else tells who a patient is, in nested items as well."""
    for keyword in _PATIENT:
        if keyword in dataset:
            delattr(dataset, keyword)
    for element in list(dataset):
        if element.tag.is_private:
            continue
        if element.VR == "PN":
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _remove_names(item)
