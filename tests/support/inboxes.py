"""An inbox that keeps what it was given, for tests of what comes over the network."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pydicom

from ich_tf.gateway.ports import Refused

CT = "1.2.840.10008.5.1.4.1.1.2"


class KeepingInbox:
    """Takes CT images.

    Attributes:
      files: SOPInstanceUID -> bytes of a file that was taken.
      sources: Ways by which files came.
      refusal: Raised by `check_room`, if any.
    """

    def __init__(self, folder: Path) -> None:
        self.spool_dir = folder
        self.files: dict[str, bytes] = {}
        self.sources: set[str] = set()
        self.refusal: Refused | None = None
        self._lock = threading.Lock()

    def check_room(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def accept(self, path: Path, source: str) -> None:
        assert path.parent == self.spool_dir
        data = path.read_bytes()
        path.unlink()
        try:
            dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError as error:
            raise Refused("NOT_DICOM", "a file is no DICOM file.") from error
        if dataset.SOPClassUID != CT:
            raise Refused("NOT_CT", "an object is no CT image.")
        with self._lock:
            self.files[dataset.SOPInstanceUID] = data
            self.sources.add(source)

    def missing(self, study_uid: str, patient_id: str, sop_uids: Sequence[str]) -> list[str]:
        return [uid for uid in sop_uids if uid not in self.files]

    @property
    def leftovers(self) -> list[Path]:
        """Files that lie in the spool."""
        return list(self.spool_dir.iterdir())
