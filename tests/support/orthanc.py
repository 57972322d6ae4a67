"""A real archive: Orthanc of Debian, on loopback, with an empty database in a temporary folder."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Debian puts the program where only root's PATH looks.
PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
_PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc"))
DICOMWEB = next(
    (path for folder in _PLUGINS for path in folder.glob("libOrthancDicomWeb.so*")), None
)
_START_SECONDS = 60.0

needs_orthanc = pytest.mark.skipif(
    PROGRAM is None or DICOMWEB is None,
    reason="needs Orthanc and its DICOMweb plugin: apt-get install orthanc orthanc-dicomweb",
)
needs_dcmtk = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="needs storescu: apt-get install dcmtk"
)


def free_port() -> int:
    """A TCP port of loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Orthanc:
    """An archive that runs.

    Attributes:
      ae_title: AE title.
      port: Port of DIMSE.
      url: Address of its REST interface, without a slash at the end.
      dicomweb: Address of its DICOMweb interface, the same way.
      user, password: What HTTP asks for; empty for nothing.
      process: The program.
    """

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, options: Mapping[str, Any], user: str = "") -> None:
        self.port, http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        self.dicomweb = f"{self.url}/dicom-web"
        self.user, self.password = user, "secret" if user else ""
        config = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(DICOMWEB)],
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(user),
            "RegisteredUsers": {user: self.password} if user else {},
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "OverwriteInstances": False,
            "StableAge": 1,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            **options,
        }
        self._folder, self.log = folder, folder / "orthanc.log"
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.start()

    def start(self) -> None:
        """Starts the program, at first or after `stop`, with what it has stored."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "orthanc.json"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.get("/system")
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    text = self.log.read_text("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"Orthanc does not start:\n{text}") from error
            time.sleep(0.05)

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer of the REST interface, as bytes."""
        request = urllib.request.Request(self.url + path, body, method=method)
        if self.user:
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def get(self, path: str) -> Any:
        """The answer of the REST interface, decoded from JSON."""
        return json.loads(self.request("GET", path))

    def add(self, path: Path) -> None:
        """Puts a file into the archive."""
        self.request("POST", "/instances", path.read_bytes())

    def series(self, study_uid: str = "") -> list[dict[str, str]]:
        """Tags of the series of a study, or of all, each with `NumberOfInstances`."""
        found = []
        for entry in self.get("/series?expand"):
            study = self.get(f"/studies/{entry['ParentStudy']}")["MainDicomTags"]
            if study_uid in ("", study["StudyInstanceUID"]):
                count = str(len(entry["Instances"]))
                found.append({**study, **entry["MainDicomTags"], "NumberOfInstances": count})
        return found

    def files(self, modality: str = "") -> list[bytes]:
        """The files of the instances, or of those of a modality, as they are kept."""
        return [
            self.request("GET", f"/instances/{instance}/file")
            for entry in self.get("/series?expand")
            if modality in ("", entry["MainDicomTags"].get("Modality"))
            for instance in entry["Instances"]
        ]

    def stop(self) -> None:
        """Ends the program. Its data are temporary; in order it would take 2 s."""
        self.process.kill()
        self.process.wait()


@contextmanager
def orthanc(*, user: str = "", **options: Any) -> Iterator[Orthanc]:
    """An archive that runs within the block.

    Args:
      user: Name that HTTP asks for, with the password `secret`; empty for none.
      **options: Options of Orthanc's configuration, such as DicomModalities.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Orthanc(Path(folder), options, user)
        try:
            yield archive
        finally:
            archive.stop()
