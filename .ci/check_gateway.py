"""The gateway beside a real archive, from the scanner to results in the same study.

  python check_gateway.py

Run by .ci/gateway. Three ways, each with an archive and a gateway of its own: forwarded by the
archive; fetched by DICOMweb, while the gateway is killed 20 times; and 50 studies at once, then
what is refused.
"""

import base64
import datetime
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pydicom

from tests.support.gateways import (
    BIRTH,
    NAME,
    STABLE_SECONDS,
    Gateway,
    check,
    make_model,
    make_phantoms,
    multi_series,
    storescu,
    wait,
)
from tests.support.orthanc import Orthanc, free_port, orthanc

KILLS, STUDIES_AT_ONCE = 20, 50
# After prediction, results are to be in the archive within this time.
SECONDS = 10.0
# Everything that the archive stores, it forwards: images to be read, and results that come round.
FORWARD = 'function OnStoredInstance(id) SendToModality(id, "gateway") end'


def results(archive: Orthanc) -> dict[str, list[pydicom.Dataset]]:
    """StudyInstanceUID -> objects that the archive holds and that are no images of a scanner."""
    found: dict[str, list[pydicom.Dataset]] = {}
    for data in archive.files():
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
        if dataset.Modality != "CT" or "DerivationDescription" in dataset:
            found.setdefault(str(dataset.StudyInstanceUID), []).append(dataset)
    return found


def check_results(archive: Orthanc, studies: list[list[Path]]) -> None:
    """Each study has its report, masks or captures, and key images, once, as its own."""
    found = results(archive)
    for files in studies:
        source = pydicom.dcmread(files[0])
        objects = found.get(str(source.StudyInstanceUID), [])
        kinds = Counter(dataset.Modality for dataset in objects)
        check(kinds["SR"] == 1, f"a study has {kinds['SR']} reports")
        check(kinds["KO"] == 1, f"a study has {kinds['KO']} lists of key images")
        check(kinds["SEG"] or kinds["OT"], f"a study has neither masks nor captures: {kinds}")
        for dataset in objects:
            for keyword in ("PatientName", "PatientID", "AccessionNumber", "PatientBirthDate"):
                mine, theirs = (str(each.get(keyword, "")) for each in (dataset, source))
                check(mine == theirs, f"{dataset.Modality}: {keyword} differs")
            check(
                dataset.SeriesInstanceUID
                not in {pydicom.dcmread(p).SeriesInstanceUID for p in files},
                f"{dataset.Modality} lies in a series of the scanner",
            )


def check_objects(archive: Orthanc, folder: Path) -> None:
    """Independent readers find nothing wrong, and the archive draws the captures."""
    for instance in archive.get("/instances"):
        tags = archive.get(f"/instances/{instance}/simplified-tags")
        if tags["Modality"] == "CT":
            continue
        path = folder / "object.dcm"
        path.write_bytes(archive.request("GET", f"/instances/{instance}/file"))
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in told.stderr.splitlines() if line.startswith("Error")]
        check(not errors, f"dciodvfy, {tags['Modality']}: {errors[:3]}")
        if tags["Modality"] in ("SR", "KO"):
            report = subprocess.run(
                ["dsrdump", str(path)], capture_output=True, text=True, check=False
            )
            check(report.returncode == 0 and report.stdout, f"dsrdump: {report.stderr[:300]}")
        if tags["Modality"] == "OT":
            preview = archive.request("GET", f"/instances/{instance}/preview")
            check(preview.startswith(b"\x89PNG"), "the archive draws no capture")


def check_private(gateway: Gateway, studies: list[list[Path]]) -> None:
    """No name, id, date, accession or UID of a patient is logged, shown, or names a file."""
    told = [gateway.log.read_text(), gateway.get("/metrics"), gateway.get("/api/worklist")]
    told += [str(path) for path in gateway.state.rglob("*")]
    told += [
        path.read_bytes().decode("latin-1") for path in gateway.state.glob("*") if path.is_file()
    ]
    text = "\n".join(told)
    for files in studies:
        dataset = pydicom.dcmread(files[0], stop_before_pixels=True)
        private = (NAME.split("^")[0], BIRTH, dataset.PatientID, dataset.AccessionNumber)
        uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        for value in filter(None, map(str, (*private, *uids))):
            check(value not in text, f"{value} is told")
    check(not list(gateway.state.rglob("*.dcm")), "images or results of finished studies are kept")


def forwarded(folder: Path, model: Path, real: Path | None) -> None:
    """The archive forwards all that it stores, results too, and gets results by C-STORE."""
    folder.mkdir()
    studies = make_phantoms(folder / "phantoms", 4, 1)
    studies.append(multi_series(folder / "multi"))
    if real is not None:
        studies.append(sorted((real / "ge_head").glob("*.dcm")))
    script = folder / "forward.lua"
    script.write_text(FORWARD)
    port = free_port()
    gateway = Gateway(
        folder / "gateway",
        model,
        f'[destination]\nkind = "dimse"\nport = {port}\nae_title = "ORTHANC"',
    )
    peers = {"gateway": ["ICH_TF", "127.0.0.1", gateway.port]}
    with orthanc(
        DicomPort=port, LuaScripts=[str(script)], DicomModalities=peers, JobsHistorySize=0
    ) as archive:
        gateway.start()
        gateway.wait_ready()
        begun = time.monotonic()
        for files in studies:
            check(storescu("ORTHANC", port, files).wait() == 0, "storescu to the archive")
        done = gateway.wait_done(len(studies), 120)
        seconds = time.monotonic() - begun
        for study in done:
            times = [
                datetime.datetime.fromisoformat(study[name])
                for name in ("predicted_at", "finished_at")
            ]
            check((times[1] - times[0]).total_seconds() < SECONDS, "results come late")
        # What comes round is dropped: no study is handled again, and none is late.
        time.sleep(2 * STABLE_SECONDS)
        again = gateway.studies()
        check(
            len(again) == len(studies) and not any(s["late"] for s in again), "results came round"
        )
        check_results(archive, studies)
        check_objects(archive, folder)
        check_private(gateway, studies)
        gateway.stop()
    print(f"== forwarded: {len(studies)} studies, results in the archive after {seconds:.1f} s")


def killed(folder: Path, model: Path) -> None:
    """Studies and results go by DICOMweb, while the gateway is killed again and again."""
    folder.mkdir()
    studies = make_phantoms(folder / "phantoms", 12, 2)
    token = folder / "token"
    token.touch(0o600)
    token.write_text("Basic " + base64.b64encode(b"gateway:secret").decode())
    chance = random.Random(0)
    with orthanc(user="gateway") as archive:
        web = f'url = "{archive.dicomweb}"\ntoken_file = "{token}"\n'
        gateway = Gateway(
            folder / "gateway",
            model,
            f"[poll]\nenabled = true\n{web}every_seconds = 1\ndays = 2\n"
            f'[destination]\nkind = "dicomweb"\n{web}first_retry_seconds = 1',
        )
        waiting = list(studies)
        begun = time.monotonic()
        for number in range(KILLS):
            gateway.start()
            if number % 4 < 3:  # else while it starts, and takes up what it was killed at
                gateway.wait_ready()
            # New studies, as long as there are some: in later rounds the gateway has work, too.
            for files in waiting[: 1 if number % 2 else 2]:
                storescu(archive.ae_title, archive.port, files).wait()
                waiting.remove(files)
            time.sleep(chance.uniform(0.0, STABLE_SECONDS + 2.0))
            gateway.stop(signal.SIGKILL)
        check(not waiting, "studies are left")
        gateway.start()
        gateway.wait_ready()
        gateway.wait_done(len(studies), 120)
        check_results(archive, studies)
        check_private(gateway, studies)
        check(len(gateway.studies()) == len(studies), "a study is listed twice")
        gateway.stop()
    print(f"== killed {KILLS} times: each study once, {time.monotonic() - begun:.1f} s")


def at_once(folder: Path, model: Path) -> None:
    """50 studies at the same time."""
    folder.mkdir()
    studies = make_phantoms(folder / "phantoms", STUDIES_AT_ONCE, 3)
    with orthanc() as archive:
        gateway = Gateway(
            folder / "gateway",
            model,
            f'[destination]\nkind = "dimse"\nport = {archive.port}\nae_title = "ORTHANC"',
        )
        gateway.start()
        gateway.wait_ready()
        begun = time.monotonic()
        running: list[subprocess.Popen] = []
        for files in studies:
            running.append(storescu("ICH_TF", gateway.port, files))
            if len(running) == 8:
                check(running.pop(0).wait() == 0, "storescu to the gateway")
        check(all(process.wait() == 0 for process in running), "storescu to the gateway")

        def some_are_done() -> bool:
            return sum(study["state"] == "done" for study in gateway.studies()) >= 10

        wait(some_are_done, 120, "10 studies are done")
        memory = gateway.memory()
        done = gateway.wait_done(len(studies), 300)
        seconds = time.monotonic() - begun
        grown = gateway.memory() - memory
        check(grown < 0.1 * memory, f"memory grew from {memory} by {grown} MiB")
        urgencies = [study["urgency"] for study in done]
        check(urgencies == sorted(urgencies, reverse=True), "the urgent are not the first")
        check_results(archive, studies)
        check_private(gateway, studies)
        refused(gateway, folder)
        gateway.stop()
    print(f"== {len(studies)} studies at once: {seconds:.1f} s, {memory} MiB and {grown} more")


def refused(gateway: Gateway, folder: Path) -> None:
    """What is not taken: strangers, and a study without a usable series, which is listed."""
    files = multi_series(folder / "multi")
    check(
        storescu("ICH_TF", gateway.port, files[:1], "STRANGER").wait() != 0, "a stranger is heard"
    )
    check(storescu("OTHER", gateway.port, files[:1]).wait() != 0, "another title is answered")
    scout = pydicom.dcmread(files[0])
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.99"
    path = folder / "scout.dcm"
    scout.save_as(path)
    check(storescu("ICH_TF", gateway.port, [path]).wait() == 0, "storescu of a scout")

    def is_listed() -> bool:
        return any(study["state"] == "refused" and study["text"] for study in gateway.studies())

    wait(is_listed, 60, "a study without a usable series is listed as refused")


def main() -> None:
    """Runs all ways, each in a folder of its own."""
    real = os.environ.get("ICH_TF_REAL_DICOM")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        forwarded(folder / "forwarded", model, Path(real) if real else None)
        killed(folder / "killed", model)
        at_once(folder / "at_once", model)


if __name__ == "__main__":
    main()
