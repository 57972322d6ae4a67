"""A gateway without model and archive: a clock to set, a fake prediction, a folder."""

import hashlib
import itertools
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from ich_tf.gateway.config import (
    DestinationSection,
    GatewayConfig,
    HttpSection,
    KeepSection,
    StowSection,
)
from ich_tf.gateway.gateway import Gateway
from ich_tf.gateway.http import listen, make_app, make_server
from ich_tf.gateway.ids import read_ids
from ich_tf.gateway.ports import SendFailed
from ich_tf.gateway.prediction import Predict, StudyPrediction
from ich_tf.labels import CLASSES
from ich_tf.serving.server import address
from tests.support.dicom_files import make_dicom

SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECRETS = ("Secret^Name", "SECRET-ID", "19991231", "ACC-77", "1.2.9.4")


class Clock:
    """A clock that stands still until it is set on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Archive:
    """A destination that keeps files in a folder, by SOP instance UID."""

    name = "a folder"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.failures: list[SendFailed] = []
        self.order: list[str] = []

    def send(self, files: Sequence[Path]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for path in files:
            ids = read_ids(path)
            self.order.append(ids.study_uid)
            (self.folder / f"{ids.study_uid}@{ids.sop_uid}").write_bytes(path.read_bytes())

    def studies(self) -> dict[str, list[str]]:
        """StudyInstanceUID -> SOP instance UIDs."""
        pairs = [path.name.split("@") for path in sorted(self.folder.iterdir())]
        groups = itertools.groupby(pairs, key=lambda pair: pair[0])
        return {study: [sop for _, sop in group] for study, group in groups}


def write_image(
    path: Path, number: int = 0, *, study: str = "1.2.9.4", patient: str = "SECRET-ID", **tags: str
) -> Path:
    """Writes a CT image of a study."""
    about = {
        "SOPInstanceUID": f"{study}.{number}",
        "StudyInstanceUID": study,
        "PatientID": patient,
        "PatientBirthDate": "19991231",
        "AccessionNumber": "ACC-77",
        **tags,
    }
    path.write_bytes(make_dicom(tags=about))
    return path


def result_uid(sop_uids: Sequence[str]) -> str:
    """SOP instance UID of the fake result of images: the same for the same images."""
    digest = hashlib.sha256("\n".join(sorted(sop_uids)).encode()).hexdigest()
    return f"2.25.{int(digest[:24], 16)}"


def fake_predict(images: Path, work: Path, results: Path) -> StudyPrediction:
    """Writes one result, which names all images by its UID; urgent are studies of many images."""
    (work / "something").write_text("x")
    ids = [read_ids(path) for path in sorted(images.iterdir())]
    results.mkdir()
    path = results / "sr.dcm"
    uid = result_uid([each.sop_uid for each in ids])
    tags = {"SOPClassUID": SR, "SOPInstanceUID": uid, "Modality": "SR"}
    tags["StudyInstanceUID"] = ids[0].study_uid
    path.write_bytes(make_dicom(tags=tags))
    return StudyPrediction(dict.fromkeys(CLASSES, len(ids) / 100), len(ids) > 2, (), (path,))


class Bench:
    """A gateway whose steps a test makes one by one."""

    def __init__(self, folder: Path, predict: Predict = fake_predict, **sections: object) -> None:
        defaults = {
            "stow": StowSection(enabled=True),
            "http": HttpSection(port=0),
            "keep": KeepSection(state_dir=str(folder / "state")),
            "destination": DestinationSection(first_retry_seconds=10, give_up_hours=1),
        }
        self.config = GatewayConfig(**(defaults | sections))  # type: ignore[arg-type]
        self.folder, self.predict = folder, predict
        self.clock = Clock()
        self.archive = Archive(folder / "archive")
        self.dry_run = False
        self.gateway = self.open()

    def open(self) -> Gateway:
        """Opens the state folder, as after a restart."""
        self.gateway = Gateway.open(
            self.config, self.predict, self.archive, dry_run=self.dry_run, clock=self.clock
        )
        return self.gateway

    def reopen(self) -> None:
        """Restarts the gateway."""
        self.gateway.close()
        self.open()

    def send(self, number: int = 0, source: str = "dimse", **about: str) -> None:
        """Lets an image come in."""
        path = self.gateway.inbox.spool_dir / f"in{number}"
        self.gateway.inbox.accept(write_image(path, number, **about), source)

    def step(self, name: str) -> float:
        """Makes one step of a service."""
        (service,) = [each for each in self.gateway.services if each.name == name]
        return service._step()  # type: ignore[attr-defined]

    def run(self, seconds: float = 61.0) -> None:
        """Lets time pass, and makes all steps that are due."""
        self.clock.now += seconds
        self.step("keeper")
        for name in ("worker", "outbox"):
            while not self.step(name):
                pass
        self.step("keeper")

    def states(self) -> list[str]:
        """States of all studies, by number."""
        return [study.state for study in self.gateway.queue.studies()]

    def files(self) -> list[str]:
        """Names of all files under the state folder, without the database."""
        root = self.folder / "state"
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if len(path.parts) > 1)


@contextmanager
def client_of(bench: Bench, token: str = "") -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread."""
    with listen(bench.config) as listening:
        server = make_server(make_app(bench.gateway, token), bench.config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            tls = bench.config.tls
            url = address(listening).replace(
                "http:", "https:" if bench.config.http.tls else "http:"
            )
            verify = ssl.create_default_context(cafile=tls.ca_file) if tls.ca_file else True
            with httpx.Client(base_url=url, verify=verify) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
