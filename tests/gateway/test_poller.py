"""Studies fetched from a real archive, and from archives that do not do as they should."""

import datetime
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from ich_tf.gateway.config import GatewayConfig, LimitsSection, PollSection
from ich_tf.gateway.loop import MachineError
from ich_tf.gateway.poller import Poller
from ich_tf.gateway.ports import Refused
from tests.support.dicom_files import make_dicom
from tests.support.http_servers import Request, http_server, response
from tests.support.inboxes import CT, KeepingInbox
from tests.support.orthanc import Orthanc, needs_orthanc, orthanc
from tests.support.processes import wait_until

TODAY = f"{datetime.date.today():%Y%m%d}"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@contextmanager
def polling(
    url: str, folder: Path, limits: LimitsSection | None = None, **section: Any
) -> Iterator[tuple[Poller, KeepingInbox]]:
    """A poller that is asked by hand."""
    inbox = KeepingInbox(folder)
    poll = PollSection(enabled=True, url=url, days=2, timeout_seconds=0.5, **section)
    poller = Poller(GatewayConfig(poll=poll, limits=limits or LimitsSection()), inbox)
    try:
        yield poller, inbox
    finally:
        poller.close()
        assert inbox.leftovers == []


def ask(poller: Poller) -> str:
    """What is wrong after a question; empty if nothing is."""
    try:
        poller.step()
    except MachineError as error:
        return str(error)
    return ""


def instance(uid: str, series: str = "1.2.5", study: str = "1.2.4", **tags: Any) -> bytes:
    tags = {
        "SOPInstanceUID": uid,
        "SeriesInstanceUID": series,
        "StudyInstanceUID": study,
        "StudyDate": TODAY,
        **tags,
    }
    return make_dicom(np.zeros((32, 32), np.int16), tags=tags)


@needs_orthanc
def test_images_of_new_studies_are_fetched_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spool, files = tmp_path / "spool", tmp_path / "files"
    spool.mkdir()
    files.mkdir()

    def add(archive: Orthanc, *data: bytes) -> None:
        for each in data:
            (files / "one.dcm").write_bytes(each)
            archive.add(files / "one.dcm")

    with orthanc() as archive, polling(archive.dicomweb, spool) as (poller, inbox):
        told = ask(poller)
        assert inbox.files == {}
        old = instance("1.2.3.1", "1.2.5.1", "1.2.4.1", StudyDate="20200101", PatientID="old")
        report = instance("1.2.3.9", "1.2.5.9", SOPClassUID=SECONDARY_CAPTURE, Modality="OT")
        first, second = instance("1.2.3.2"), instance("1.2.3.3", "1.2.5.2")
        add(archive, old, report, first, second)
        told = ask(poller)
        assert sorted(inbox.files) == ["1.2.3.2", "1.2.3.3"]
        assert inbox.sources == {"poll"}
        got = pydicom.dcmread(pydicom.filebase.DicomBytesIO(inbox.files["1.2.3.2"]))
        assert got == pydicom.dcmread(pydicom.filebase.DicomBytesIO(first))
        # One more of a series that is here: only it is fetched.
        inbox.files.clear()
        held = {"1.2.3.2", "1.2.3.3"}
        inbox.missing = lambda study, patient, uids: [u for u in uids if u not in held]
        add(archive, instance("1.2.3.4"))
        told = ask(poller)
        assert list(inbox.files) == ["1.2.3.4"]
        held.add("1.2.3.4")
        inbox.missing = None  # a study that did not change is not looked at
        told = ask(poller)
        assert told == ""
    assert "1.2.3" not in caplog.text.replace("127.0.0.1", "")
    assert "Secret" not in caplog.text


def match(**values: Any) -> dict[str, Any]:
    keys = {"study": "0020000D", "series": "0020000E", "uid": "00080018", "kind": "00080016"}
    return {keys[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


def scripted(images: Callable[[str], bytes], *uids: str) -> Callable[[Request], None]:
    """An archive of one study with a series of some instances.

    Args:
      images: Path -> the answer of WADO-RS.
      *uids: SOPInstanceUIDs.
    """

    def handle(request: Request) -> None:
        path = request.path.split("?")[0]
        if path == "/studies":
            answer = response(200, json.dumps([match(study="1.2.4")]).encode())
        elif path == "/studies/1.2.4/instances":
            found = [match(series="1.2.5", uid=uid, kind=CT) for uid in uids]
            answer = response(200, json.dumps(found).encode())
        else:
            answer = images(path)
        request.answer(answer)

    return handle


def multipart(*files: bytes, end: bytes = b"--B--\r\n") -> bytes:
    head = b"--B\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + data + b"\r\n" for data in files) + end
    return response(200, body, 'multipart/related; type="application/dicom"; boundary=B')


FIRST, SECOND = instance("1.2.3.1"), instance("1.2.3.2")


@pytest.mark.parametrize(
    ("answer", "problem", "taken"),
    [
        (response(500), "answered 500", 0),
        (response(404), "answered 404", 0),
        (multipart(FIRST), "sent 1 of 2 images", 1),
        (multipart(FIRST, SECOND)[:-300], "the connection broke", 1),
        (multipart(FIRST, SECOND, end=b""), "ends before its last part", 1),
        (response(200, b"{}"), "expected multipart/related", 0),
        (multipart(FIRST, b"x" * 2**21), "", 1),
        (multipart(FIRST, b"no DICOM"), "", 1),
    ],
    ids=("500", "404", "one of two", "cut", "no end", "no parts", "too large", "no DICOM"),
)
def test_answers_that_lack_something_are_asked_for_again(
    tmp_path: Path, answer: bytes, problem: str, taken: int
) -> None:
    limits = LimitsSection(instance_mb=1)
    with (
        http_server(scripted(lambda _: answer, "1.2.3.1", "1.2.3.2")) as url,
        polling(url, tmp_path, limits) as (poller, inbox),
    ):
        told = ask(poller)
        assert problem in told
        assert bool(problem) == bool(told)
        assert len(inbox.files) == taken


def test_a_study_that_never_comes_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths: list[str] = []

    def images(path: str) -> bytes:
        paths.append(path)
        return response(500)

    with (
        http_server(scripted(images, "1.2.3.1")) as url,
        polling(url, tmp_path) as (poller, _),
    ):
        for _ in range(7):
            ask(poller)
    assert len(paths) == 5
    assert "given up after 5 tries" in caplog.text
    assert "1.2.4" not in caplog.text


def test_an_archive_that_is_away_is_asked_less_and_less_often(tmp_path: Path) -> None:
    with (
        http_server(lambda request: request.answer(response(500))) as url,
        polling(url, tmp_path, every_seconds=100.0) as (poller, _),
    ):
        pauses = []
        for _ in range(5):
            assert "answered 500" in ask(poller)
            pauses.append(poller.pause_seconds)
    assert pauses == [200.0, 400.0, 800.0, 900.0, 900.0]


def test_a_full_disk_stops_the_round(tmp_path: Path) -> None:
    with (
        http_server(scripted(lambda _: multipart(FIRST), "1.2.3.1")) as url,
        polling(url, tmp_path) as (poller, inbox),
    ):
        inbox.refusal = Refused("DISK_FULL", "the disk is full.")
        told = ask(poller)
        assert told == "the disk is full."
        inbox.refusal = None
        told = ask(poller)
        assert told == ""
        assert list(inbox.files) == ["1.2.3.1"]


@pytest.mark.parametrize("uid", ["..", "1.2/../../admin", "1" * 65, "", None])
def test_uids_of_an_archive_are_none_of_its_paths(tmp_path: Path, uid: Any) -> None:
    paths: list[str] = []

    def handle(request: Request) -> None:
        paths.append(request.path.split("?")[0])
        request.answer(response(200, json.dumps([match(study=uid)]).encode()))

    with http_server(handle) as url, polling(url, tmp_path) as (poller, _):
        told = ask(poller)
        assert "what is no UID" in told
    assert paths == ["/studies"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (response(401), "answered 401"),
        (response(200, b"{}"), "no list of matches"),
        (response(200, b"[1]"), "no list of matches"),
        (response(200, b"<html>"), "no JSON"),
        (response(204), ""),
        (response(200, b"[]"), ""),
    ],
    ids=("401", "no list", "no matches", "no JSON", "nothing", "empty"),
)
def test_answers_to_a_question(tmp_path: Path, answer: bytes, problem: str) -> None:
    with (
        http_server(lambda request: request.answer(answer)) as url,
        polling(url, tmp_path) as (poller, _),
    ):
        told = ask(poller)
        assert problem in told
        assert bool(problem) == bool(told)


def test_matches_come_page_by_page(tmp_path: Path) -> None:
    queries: list[str] = []

    def handle(request: Request) -> None:
        path, query = request.path.split("?")
        matches = []
        if path == "/studies":
            queries.append(query)
            if len(queries) < 3:
                start = 200 * len(queries)
                number = {"00201208": {"vr": "IS", "Value": [1]}}
                matches = [match(study=f"1.{start + i}") | number for i in range(200)]
        request.answer(response(200, json.dumps(matches).encode()))

    with http_server(handle) as url, polling(url, tmp_path) as (poller, _):
        poller._complete = {f"1.{i}": 1 for i in range(600)}
        told = ask(poller)
        assert told == ""
    assert [query.rsplit("offset=", 1)[1] for query in queries] == ["0", "200", "400"]


def test_it_asks_by_itself_and_ends(tmp_path: Path) -> None:
    with (
        http_server(scripted(lambda _: multipart(FIRST), "1.2.3.1")) as url,
        polling(url, tmp_path, every_seconds=1.0) as (poller, inbox),
    ):
        assert poller.problem() == "its thread does not run"
        poller.start()
        assert wait_until(lambda: inbox.files, 5)
        assert poller.problem() == ""
