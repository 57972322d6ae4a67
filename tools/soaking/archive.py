"""The archive that results go to: Orthanc where it is installed, else pynetdicom."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from tests.support.orthanc import DICOMWEB, PROGRAM, Orthanc, free_port

TITLE = "ORTHANC"


class Destination(Protocol):
    """An archive that can be down for a while.

    Attributes:
      name: What it is.
      port: Port of DIMSE.
    """

    name: str
    port: int

    def start(self) -> None:
        """Lets it take objects, at first or again."""

    def stop(self) -> None:
        """Lets it be unreachable."""

    def modalities(self, study_uid: str) -> Counter[str]:
        """Number of its objects of a study, by modality."""

    def forget(self, study_uid: str) -> None:
        """Deletes a study, so that the archive does not grow."""


def make_archive(folder: Path, *, use_orthanc: bool) -> Destination:
    """Starts an archive; `stop` ends it.

    Args:
      folder: Empty folder for what it stores.
      use_orthanc: Whether it is Orthanc, where that is installed.
    """
    if use_orthanc and PROGRAM is not None and DICOMWEB is not None:
        return OrthancArchive(folder)
    return PlainArchive()


class OrthancArchive:
    """Orthanc; a `Destination`."""

    def __init__(self, folder: Path) -> None:
        self._orthanc = Orthanc(folder, {"OverwriteInstances": True})
        self.name, self.port = "Orthanc", self._orthanc.port

    def start(self) -> None:
        """As `Destination.start`."""
        self._orthanc.start()

    def stop(self) -> None:
        """As `Destination.stop`."""
        self._orthanc.stop()

    def modalities(self, study_uid: str) -> Counter[str]:
        """As `Destination.modalities`."""
        counts: Counter[str] = Counter()
        for study in self._found(study_uid):
            for series in self._orthanc.get(f"/studies/{study}/series"):
                counts[series["MainDicomTags"].get("Modality", "")] += len(series["Instances"])
        return counts

    def forget(self, study_uid: str) -> None:
        """As `Destination.forget`."""
        for study in self._found(study_uid):
            self._orthanc.request("DELETE", f"/studies/{study}")

    def _found(self, study_uid: str) -> list[str]:
        query = {"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}
        answer = self._orthanc.request("POST", "/tools/find", json.dumps(query).encode())
        found: list[str] = json.loads(answer)
        return found


class PlainArchive:
    """pynetdicom's receiver in this process, which keeps only what it is told of objects."""

    name = "pynetdicom in this process, not Orthanc"

    def __init__(self) -> None:
        self.port = free_port()
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, str]] = {}
        self._server: ThreadedAssociationServer | None = None
        self.start()

    def start(self) -> None:
        """As `Destination.start`."""
        entity = AE(TITLE)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax))
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def stop(self) -> None:
        """As `Destination.stop`."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def modalities(self, study_uid: str) -> Counter[str]:
        """As `Destination.modalities`."""
        with self._lock:
            return Counter(self._objects.get(study_uid, {}).values())

    def forget(self, study_uid: str) -> None:
        """As `Destination.forget`."""
        with self._lock:
            self._objects.pop(study_uid, None)

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        with self._lock:
            objects = self._objects.setdefault(str(dataset.StudyInstanceUID), {})
            objects[str(dataset.SOPInstanceUID)] = str(dataset.Modality)
        return 0x0000
