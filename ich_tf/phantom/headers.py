"""A study -> DICOM files with the headers of RSNA's, including their oddities, or of a scanner's.

The oddities are: invalid UIDs (`ID_...`), no SliceThickness, no InstanceNumber, windows with two
values, 12-bit files whose pixels wrapped around. `archive_headers` adds what a scanner writes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.phantom.archive_headers import UID_PREFIX, archive_elements, archive_study_uid
from ich_tf.phantom.geometry import field_of_view
from ich_tf.phantom.study import Encoding, PhantomStudy

if TYPE_CHECKING:
    # Imported late elsewhere: pydicom takes 0.2 s to load, and --help needs the config alone.
    from pydicom.dataset import Dataset

_PADDING = -2000
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


class Identifiers:
    """Ids in RSNA's forms, all different, whose order reveals neither slices nor patients."""

    def __init__(self, key: int, first: int) -> None:
        """Starts a sequence of ids.

        Args:
          key: Key of the permutation that turns consecutive numbers into ids, 32 bits.
          first: First of the numbers, different for each patient of a set.
        """
        self._key = key
        self._next = first

    @classmethod
    def for_patient(cls, seed: int, patient: int) -> Identifiers:
        """The ids of one patient.

        Args:
          seed: Seed of the set.
          patient: Number of the patient, from 0.
        """
        return cls(int(np.random.default_rng([seed, 0]).integers(1 << 32)), patient << 12)

    def patient(self) -> str:
        """A new patient id: `ID_` and eight digits."""
        return f"ID_{self._scatter(32):08x}"

    def image(self) -> str:
        """A new image id: `ID_` and nine digits."""
        return f"ID_{self._scatter(36):09x}"

    def study(self) -> str:
        """A new study or series id: `ID_` and ten digits."""
        return f"ID_{self._scatter(40):010x}"

    def _scatter(self, bits: int) -> int:
        """The next number, under a permutation of all numbers of this many bits."""
        mask = (1 << bits) - 1
        value = self._next
        self._next += 1
        # Odd factors and xors with the upper half are invertible: ids stay different.
        for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9):
            value = ((value ^ self._key) * factor) & mask
            value ^= value >> (bits // 2)
        return value


def stored_values(hu: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Converts Hounsfield units to the stored values of a file.

    Args:
      hu: Hounsfield units, int16 [H, W], at least the encoding's intercept.
      encoding: Storage of the study's pixels.

    Returns:
      Stored values, int16 if signed, else uint16, of the same shape.
    """
    stored = hu.astype(np.int32) - encoding.intercept
    if encoding.quirk:
        # The inverse of the repair: the reader adds 1000, and subtracts 4096 from 4096 or more.
        return ((stored + 4096 - 1000) % 4096).astype(np.uint16)
    if not encoding.signed:
        return stored.astype(np.uint16)
    if encoding.padded:
        stored[~field_of_view(hu.shape[0])] = _PADDING
    return stored.astype(np.int16)


def write_study(
    folder: Path, study: PhantomStudy, identifiers: Identifiers, patient_id: str, headers: str
) -> tuple[str, list[str]]:
    """Writes `<folder>/<image id>.dcm` for each slice of a study.

    Args:
      folder: Folder that exists.
      study: The study.
      identifiers: Ids of the patient.
      patient_id: Id of the patient.
      headers: Kind of the headers: `rsna` or `archive`.

    Returns:
      StudyInstanceUID; image ids in the order of the slices.
    """
    study_id, series_id = identifiers.study(), identifiers.study()
    image_ids = [identifiers.image() for _ in study.hu]
    for index, image_id in enumerate(image_ids):
        ids = (patient_id, study_id, series_id, image_id)
        (folder / f"{image_id}.dcm").write_bytes(encode_slice(study, index, ids, headers))
    return archive_study_uid(study_id) if headers == "archive" else study_id, image_ids


def encode_slice(
    study: PhantomStudy, index: int, ids: tuple[str, str, str, str], headers: str = "rsna"
) -> bytes:
    """Encodes one slice as a DICOM file.

    Args:
      study: The study.
      index: Number of the slice, from 0.
      ids: Ids of patient, study, series and image.
      headers: Kind of the headers: `rsna` or `archive`.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    encoding, geometry = study.encoding, study.geometry
    stored = stored_values(study.hu[index], encoding)
    patient_id, study_id, series_id, image_id = ids
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom computes the length
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(_CT_IMAGE_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(f"{UID_PREFIX}{int(image_id[3:], 16)}")
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if encoding.implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"{UID_PREFIX}1")
    dataset = Dataset()
    center, width = ("00036", "00080") if encoding.window_pair else ("30", "80")
    for keyword, vr, value in (
        ("SOPInstanceUID", "UI", image_id),
        ("Modality", "CS", "CT"),
        ("PatientID", "LO", patient_id),
        ("StudyInstanceUID", "UI", study_id),
        ("SeriesInstanceUID", "UI", series_id),
        ("StudyID", "SH", ""),
        ("ImagePositionPatient", "DS", _decimals(geometry.positions_mm[index])),
        ("ImageOrientationPatient", "DS", _decimals(geometry.orientation)),
        ("SamplesPerPixel", "US", 1),
        ("PhotometricInterpretation", "CS", "MONOCHROME2"),
        ("Rows", "US", stored.shape[0]),
        ("Columns", "US", stored.shape[1]),
        ("PixelSpacing", "DS", _decimals([geometry.spacing_mm] * 2)),
        ("BitsAllocated", "US", 16),
        ("BitsStored", "US", 16 if encoding.signed else 12),
        ("HighBit", "US", 15 if encoding.signed else 11),
        ("PixelRepresentation", "US", int(encoding.signed)),
        ("WindowCenter", "DS", [center] * 2 if encoding.window_pair else center),
        ("WindowWidth", "DS", [width] * 2 if encoding.window_pair else width),
        ("RescaleIntercept", "DS", "0" if encoding.quirk else str(encoding.intercept)),
        ("RescaleSlope", "DS", "1"),
    ):
        _add(dataset, keyword, vr, value)
    if encoding.padded:
        _add(dataset, "PixelPaddingValue", "SS", _PADDING)
    _add(dataset, "PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())
    if headers == "archive":
        for keyword, vr, value in archive_elements(study, index, ids):
            _add(dataset, keyword, vr, value)
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    written = FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta)
    file = io.BytesIO()
    # Not enforced: pydicom would write `ID_...` into the meta information and warn of it.
    pydicom.dcmwrite(
        file, written, enforce_file_format=False, implicit_vr=encoding.implicit, little_endian=True
    )
    return file.getvalue()


def _add(dataset: Dataset, keyword: str, vr: str, value: Any) -> None:
    from pydicom import config
    from pydicom.dataelem import DataElement

    # Unchecked: pydicom warns of `ID_...`, which is no valid UID.
    dataset.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))


def _decimals(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [f"{float(value):.6f}" for value in values]
