"""Good studies to send: phantoms, again and again under new ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom

# Under pydicom's own root, which is meant for tests.
_ROOT = "1.2.826.0.1.3680043.8.498.7"
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class GoodStudy:
    """A study whose answer is known after the first time.

    Attributes:
      number: Number of its phantom.
      names: Names of its files.
      files: Their bytes.
    """

    number: int
    names: tuple[str, ...]
    files: tuple[bytes, ...]

    @property
    def uploads(self) -> list[tuple[str, bytes]]:
        """Names and bytes of the files."""
        return list(zip(self.names, self.files, strict=True))

    def renewed(self, key: str) -> list[pydicom.Dataset]:
        """The images under the ids of another study, patient and accession.

        Args:
          key: Text that the ids follow from.
        """
        datasets: list[pydicom.Dataset] = []
        for number, data in enumerate(self.files):
            dataset = pydicom.dcmread(BytesIO(data))
            dataset.StudyInstanceUID = study_uid(key)
            dataset.SeriesInstanceUID = f"{study_uid(key)}.1"
            dataset.SOPInstanceUID = f"{study_uid(key)}.1.{number + 1}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.PatientID = f"SOAK-{key}"
            dataset.AccessionNumber = f"A{key}"[:16]
            datasets.append(dataset)
        return datasets


def study_uid(key: str) -> str:
    """StudyInstanceUID that follows from a text."""
    return f"{_ROOT}.{int(hashlib.sha256(key.encode()).hexdigest()[:12], 16)}"


def as_file(dataset: pydicom.Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def read_studies(folder: Path) -> list[GoodStudy]:
    """Reads the studies of `prepare`."""
    studies = []
    for number, each in enumerate(sorted(folder.iterdir())):
        paths = sorted(each.iterdir())
        names = tuple(path.name for path in paths)
        studies.append(GoodStudy(number, names, tuple(path.read_bytes() for path in paths)))
    return studies
