"""A study -> DICOM files with the headers of RSNA's, their oddities included.

What is odd, and wanted: UIDs that are no UIDs (`ID_...`), no SliceThickness, no InstanceNumber,
windows with two values, 12-bit files whose pixels wrapped around.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.phantom.scanner import field_of_view
from ich_tf.phantom.study import Encoding, Study

if TYPE_CHECKING:
    # Imported where it is used: pydicom takes 0.2 s to load, and --help wants the config alone.
    from pydicom.dataset import Dataset

_PADDING = -2000
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
# pydicom's own prefix: what follows is ours to choose.
_UID_PREFIX = "1.2.826.0.1.3680043.8.498."


class Identifiers:
    """Ids in RSNA's forms, all different, and in no order that tells of slices or patients."""

    def __init__(self, seed: int, patient: int) -> None:
        """Makes the ids of one patient of one set."""
        self._key = int(np.random.default_rng([seed, 0]).integers(1 << 32))
        self._next = patient << 12

    def patient(self) -> str:
        """`ID_` and eight digits."""
        return f"ID_{self._scatter(32):08x}"

    def image(self) -> str:
        """`ID_` and nine digits."""
        return f"ID_{self._scatter(36):09x}"

    def study(self) -> str:
        """`ID_` and ten digits; series' ids as well."""
        return f"ID_{self._scatter(40):010x}"

    def _scatter(self, bits: int) -> int:
        """The next number under a permutation of all numbers of so many bits."""
        mask = (1 << bits) - 1
        value = self._next
        self._next += 1
        # Odd factors and xors with the own upper half can be undone: different stays different.
        for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9):
            value = ((value ^ self._key) * factor) & mask
            value ^= value >> (bits // 2)
        return value


def stored_values(hu: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Pixels as a file of this encoding stores them.

    Args:
      hu: Hounsfield units, int16 [H, W], at least the encoding's intercept.
      encoding: Of the study.

    Returns:
      int16 (signed) or uint16 of the same shape.
    """
    stored = hu.astype(np.int32) - encoding.intercept
    if encoding.quirk:
        # The reader adds 1000 and takes 4096 off what reaches it: this is what undoes that.
        return ((stored + 4096 - 1000) % 4096).astype(np.uint16)
    if not encoding.signed:
        return stored.astype(np.uint16)
    if encoding.padded:
        stored[~field_of_view(hu.shape[0])] = _PADDING
    return stored.astype(np.int16)


def write_study(folder: Path, study: Study, identifiers: Identifiers, patient_id: str) -> list[str]:
    """Writes `<folder>/<image id>.dcm` for each slice; returns the ids in the slices' order."""
    study_id, series_id = identifiers.study(), identifiers.study()
    image_ids = [identifiers.image() for _ in study.hu]
    for index, image_id in enumerate(image_ids):
        ids = (patient_id, study_id, series_id, image_id)
        (folder / f"{image_id}.dcm").write_bytes(encode_slice(study, index, ids))
    return image_ids


def encode_slice(study: Study, index: int, ids: tuple[str, str, str, str]) -> bytes:
    """The DICOM file of one slice.

    Args:
      study: The study.
      index: Of the slice.
      ids: Of patient, study, series and image.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    encoding, geometry = study.encoding, study.geometry
    stored = stored_values(study.hu[index], encoding)
    patient_id, study_id, series_id, image_id = ids
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom puts the length in
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(_CT_IMAGE_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(f"{_UID_PREFIX}{int(image_id[3:], 16)}")
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if encoding.implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"{_UID_PREFIX}1")
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
    written = FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta)
    file = io.BytesIO()
    # Not enforced: pydicom would put `ID_...` into the meta information and warn of it.
    pydicom.dcmwrite(
        file, written, enforce_file_format=False, implicit_vr=encoding.implicit, little_endian=True
    )
    return file.getvalue()


def _add(dataset: Dataset, keyword: str, vr: str, value: Any) -> None:
    from pydicom import config
    from pydicom.dataelem import DataElement

    # Unchecked: `ID_...` is no UID, and pydicom warns of it.
    dataset.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))


def _decimals(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [f"{float(value):.6f}" for value in values]
