"""A gateway in a process of its own, and studies for it whose patients are to stay secret."""

from __future__ import annotations

import atexit
import datetime
import hashlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pydicom

from tests.support.ct_study import write_study
from tests.support.inboxes import CT
from tests.support.orthanc import free_port

# Time without a new image after which a study is complete.
STABLE_SECONDS = 2.0
NAME, BIRTH = "Hidden^Patient", "19310207"
_KINDS = ("standard", "bone", "thin", "cta")
_TODAY = f"{datetime.date.today():%Y%m%d}"


def check(holds: object, text: str) -> None:
    """Ends the script with a text, unless something holds."""
    if not holds:
        sys.exit(f"FAILED: {text}")


class Gateway:
    """A gateway in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path, work_dir: Path, sections: str) -> None:
        folder.mkdir()
        self.folder, self.http, self.port = folder, free_port(), free_port()
        self.log = folder / "log.txt"
        self.state = folder / "state"
        config = f"""
            [model]
            work_dir = "{work_dir}"
            num_workers = 1
            [receiver]
            enabled = true
            port = {self.port}
            calling_ae_titles = ["ORTHANC", "SCANNER"]
            [http]
            port = {self.http}
            [keep]
            state_dir = "{self.state}"
            [study]
            stable_seconds = {STABLE_SECONDS}
            other_objects = "ignore"
            [limits]
            free_mb = 16
            {sections}
        """
        self.config = folder / "gateway.toml"
        self.config.write_text(config)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "ich_tf.gateway", f"--config={self.config}"]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        # A check that fails ends the script.
        atexit.register(self.process.kill)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return answer.read().decode()

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            check(self.process.poll() is None, f"the gateway ended:\n{self.log.read_text()}")
            try:
                return json.loads(self.get("/healthz"))["status"] == "ok"
            except OSError:
                return False

        wait(is_ready, 120, "the gateway starts")

    def studies(self) -> list[dict[str, Any]]:
        return json.loads(self.get("/api/worklist"))["studies"]

    def wait_done(self, number: int, seconds: float) -> list[dict[str, Any]]:
        def are_done() -> bool:
            states = Counter(study["state"] for study in self.studies())
            check(not states["failed"], f"a study failed:\n{self.log.read_text()}")
            return states["done"] == number

        wait(are_done, seconds, f"{number} studies are done")
        return self.studies()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss >> 20


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, f"within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def make_model(folder: Path) -> Path:
    """A network of random weights, with masks, for which every slice is suspicious."""
    code = (
        "from pathlib import Path; from tests.support.made_up import make_calibration, make_run; "
        f"make_calibration(make_run(Path({str(folder)!r}), 64, 1, segmentation=True), 1e-4)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    return folder


def make_phantoms(folder: Path, patients: int, seed: int) -> list[list[Path]]:
    """Studies of phantoms, each with the identity of a patient to be kept secret."""
    from ich_tf.phantom import PhantomConfig, write_dataset

    raw = folder / "raw"
    config = PhantomConfig(num_patients=patients, seed=seed, matrix=64, followup_fraction=0)
    write_dataset(raw, config, num_workers=2)
    studies: dict[str, list[Path]] = {}
    for path in sorted(raw.glob("stage_2_*/*.dcm")):
        dataset = pydicom.dcmread(path)
        study = str(dataset.StudyInstanceUID)
        kept = studies.setdefault(study, [])
        number = list(studies).index(study)
        _hide(dataset, f"{seed}{number}")
        target = folder / f"{number}-{len(kept)}.dcm"
        dataset.save_as(target)
        kept.append(target)
    return list(studies.values())


def _hide(dataset: pydicom.Dataset, number: str) -> None:
    """Gives a phantom's image what RSNA's lack: a class, valid UIDs, and a patient's identity."""

    def uid(old: str) -> str:
        last = int(hashlib.sha256(old.encode()).hexdigest()[:12], 16)
        return f"1.2.826.0.1.3680043.8.498.{number}.{last}"

    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, uid(str(dataset[keyword].value)))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientName, dataset.PatientID = NAME, f"PATIENT-{number}"
    dataset.PatientBirthDate, dataset.StudyDate = BIRTH, _TODAY
    dataset.AccessionNumber = f"ACCESSION-{number}"


def multi_series(folder: Path) -> list[Path]:
    """A study of four series, of which one is the plain head CT."""
    paths = [path for each in write_study(folder, _KINDS, side=64).values() for path in each]
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientBirthDate, dataset.StudyDate = NAME, BIRTH, _TODAY
        dataset.AccessionNumber = "ACCESSION-0"
        # No id that the bytes of a database could spell by chance.
        dataset.PatientID = "PATIENT-OF-FOUR-SERIES"
        dataset.save_as(path)
    return paths


def storescu(
    title: str, port: int, files: list[Path], calling: str = "SCANNER"
) -> subprocess.Popen:
    command = ["storescu", "-aet", calling, "-aec", title, "127.0.0.1", str(port), *map(str, files)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
