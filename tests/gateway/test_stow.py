"""Studies sent by STOW-RS: by httpx, by a real archive, and by senders who mean no good."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from ich_tf.gateway.config import GatewayConfig, LimitsSection, ReceiverSection, StowSection
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.stow import stow_routes
from ich_tf.serving.error_answers import handle_errors
from ich_tf.serving.guard import Guard
from ich_tf.serving.monitoring import RequestMonitor
from tests.support.dicom_files import make_dicom
from tests.support.inboxes import KeepingInbox
from tests.support.orthanc import needs_orthanc, orthanc
from tests.support.processes import wait_until

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
KIND = 'multipart/related; type="application/dicom"; boundary=B'
PATH = "/dicom-web/studies"
TOKEN = "sixteen or more characters"
AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}
SENT_TOKEN = f"Authorization: Bearer {TOKEN}\r\n"


@contextmanager
def storing(
    folder: Path, limits: LimitsSection | None = None
) -> Iterator[tuple[httpx.Client, KeepingInbox]]:
    """A client of a server that takes studies within the block."""
    inbox = KeepingInbox(folder)
    config = GatewayConfig(stow=StowSection(enabled=True), limits=limits or LimitsSection())
    app = FastAPI(routes=stow_routes(config, inbox))
    handle_errors(app)
    app.add_middleware(Guard, monitor=RequestMonitor(), token=TOKEN, hosts=())
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30, headers=AUTHORIZATION) as client:
                yield client, inbox
        finally:
            server.should_exit = True
            thread.join(30)
    assert inbox.leftovers == []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, KeepingInbox]]:
    with storing(tmp_path_factory.mktemp("spool")) as running:
        yield running


def ct_image(uid: str, **tags: Any) -> bytes:
    return make_dicom(np.zeros((32, 32), np.int16), tags={"SOPInstanceUID": uid, **tags})


def parts(*files: bytes, kind: str = "application/dicom", end: bytes = b"--B--\r\n") -> bytes:
    head = f"--B\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + data + b"\r\n" for data in files) + end


def send(client: httpx.Client, body: Any, kind: str = KIND, path: str = PATH) -> httpx.Response:
    return client.post(path, content=body, headers={"content-type": kind})


def named(answer: httpx.Response, key: str) -> list[str]:
    """SOPInstanceUIDs of a list of the answer."""
    items = answer.json().get(key, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def reasons(answer: httpx.Response, key: str) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.json()[key]["Value"]]


def test_instances_are_stored_and_named(both, caplog: pytest.LogCaptureFixture) -> None:
    client, inbox = both
    caplog.set_level(logging.DEBUG)
    images = {f"1.2.3.{number}": ct_image(f"1.2.3.{number}") for number in (1, 2)}
    answer = send(client, parts(*images.values()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert named(answer, "00081199") == list(images)
    assert inbox.files == images
    assert inbox.sources == {"stow"}
    report = ct_image("1.2.3.3", SOPClassUID=SECONDARY_CAPTURE)
    answer = send(client, parts(report, images["1.2.3.1"], b"no DICOM"), path=f"{PATH}/1.2.4")
    assert answer.status_code == 202
    assert named(answer, "00081199") == ["1.2.3.1"]
    assert named(answer, "00081198") == ["1.2.3.3"]
    assert reasons(answer, "00081198") == [0x0122]
    assert reasons(answer, "0008119A") == [0xC000]
    assert "1.2.3" not in caplog.text
    assert "Secret" not in caplog.text


def test_text_before_and_after_the_parts_is_none_of_them(both) -> None:
    client, inbox = both
    inbox.files.clear()
    body = b"A preamble with --B in it\r\n\r\n" + parts(ct_image("1.2.3.8")) + b"An epilogue"

    def by_bytes() -> Iterator[bytes]:
        yield from (body[place : place + 1] for place in range(100))
        yield body[100:]

    for content in (body, by_bytes(), b"\r\n" + parts(ct_image("1.2.3.8"))):
        answer = client.post(PATH, content=content, headers={"content-type": KIND})
        assert answer.status_code == 200, answer.text
    assert list(inbox.files) == ["1.2.3.8"]


def test_senders_need_the_token(both) -> None:
    client, inbox = both
    body = parts(ct_image("1.2.3.6"))
    for headers in ({}, {"authorization": "Bearer another"}):
        for path in (PATH, f"{PATH}/1.2.4"):
            answer = httpx.post(
                f"{client.base_url}{path}", content=body, headers={"content-type": KIND, **headers}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "NO_TOKEN")
    assert "1.2.3.6" not in inbox.files


def test_nothing_of_a_body_is_stored(both) -> None:
    client, inbox = both
    inbox.files.clear()
    answer = send(client, parts(ct_image("1.2.3.4")), path=f"{PATH}/1.2.99")
    assert answer.status_code == 409
    assert named(answer, "00081198") == ["1.2.3.4"]
    inbox.refusal = Refused("DISK_FULL", "the disk is full.")
    answer = send(client, parts(ct_image("1.2.3.4")))
    inbox.refusal = None
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert reasons(answer, "0008119A") == [0xA700]
    assert inbox.files == {}


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (parts(), KIND, 400, "NO_FILES"),
        (b"", KIND, 400, "BAD_MULTIPART"),
        (b"junk", KIND, 400, "BAD_MULTIPART"),
        (b"junk" * 5000 + parts(b"x"), KIND, 400, "BAD_MULTIPART"),
        (parts(b"x", end=b""), KIND, 400, "BAD_MULTIPART"),
        (parts(b"x", kind="text/plain"), KIND, 400, "BAD_MULTIPART"),
        (b"--B\r\nA: " + b"x" * 100_000, KIND, 400, "BAD_MULTIPART"),
        (parts(b"x"), "application/dicom", 415, "NOT_MULTIPART"),
        (parts(b"x"), "multipart/related", 415, "NOT_MULTIPART"),
        (parts(b"x"), KIND.replace("dicom", "json"), 415, "NOT_MULTIPART"),
        (parts(b"x"), "", 415, "NOT_MULTIPART"),
    ],
    ids=lambda value: None if isinstance(value, int) else str(value)[:20],
)
def test_bodies_that_are_none_are_refused(
    both, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = send(both[0], body, kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_sizes_and_numbers_have_limits(tmp_path: Path) -> None:
    limits = LimitsSection(instance_mb=1, association_mb=3, study_instances=2)
    with storing(tmp_path, limits) as (client, inbox):
        large, small = bytes(2**20 + 1), ct_image("1.2.3.1")
        answer = send(client, parts(large, small))
        assert answer.status_code == 202
        assert reasons(answer, "0008119A") == [0xA700]

        def endless() -> Iterator[bytes]:
            for _ in range(40):  # without a length: 10 MiB
                yield parts(bytes(2**18), end=b"")

        for body, code in (
            (parts(large, large, large), "TOO_LARGE"),
            (endless(), "TOO_MANY_INSTANCES"),
            ((bytes(2**18) if i else parts(b"", end=b"")[:-2] for i in range(40)), "TOO_LARGE"),
            (parts(*(ct_image(f"1.2.3.{n}") for n in range(3))), "TOO_MANY_INSTANCES"),
        ):
            answer = send(client, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, code)
        compressed = {"content-type": KIND, "content-encoding": "gzip"}
        assert client.post(PATH, content=b"x", headers=compressed).status_code == 415
        assert sorted(inbox.files) == ["1.2.3.0", "1.2.3.1"]


def test_slow_bodies_end_and_hold_no_place(tmp_path: Path) -> None:
    limits = LimitsSection(associations=2, idle_seconds=0.3)
    with storing(tmp_path, limits) as (client, _):
        address = (client.base_url.host, client.base_url.port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\n{SENT_TOKEN}"
        head += "Content-Length: 100000\r\n\r\n--B\r\n"
        slow = [socket.create_connection(address) for _ in range(2)]
        for each in slow:
            each.sendall(head.encode())

        def status() -> int:
            return send(client, parts(ct_image("1.2.3.1"))).status_code

        assert wait_until(lambda: status() == 503, 5)  # both places are taken
        # One is silent, the other sends a byte now and then.
        trickling = slow[1]
        trickling.settimeout(10)
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    trickling.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = trickling.recv(1000)
        ended.set()
        thread.join()
        assert answer.startswith(b"HTTP/1.1 408")
        slow[0].settimeout(10)
        assert slow[0].recv(1000).startswith(b"HTTP/1.1 408")
        assert status() == 200
        for each in slow:
            each.close()


def test_a_sender_that_goes_away_leaves_nothing(both) -> None:
    client, inbox = both
    with socket.create_connection((client.base_url.host, client.base_url.port)) as gone:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {KIND}\r\n{SENT_TOKEN}"
        gone.sendall(f"{head}Content-Length: 9999\r\n\r\n".encode() + parts(b"x" * 99, end=b""))
        gone.sendall(b"--B\r\n\r\nmore")
        assert wait_until(lambda: inbox.leftovers, 5)
    assert wait_until(lambda: not inbox.leftovers, 5)


@needs_orthanc
def test_an_archive_sends_a_study(both, tmp_path: Path) -> None:
    client, inbox = both
    inbox.files.clear()
    servers = {"gateway": {"Url": f"{client.base_url}/dicom-web/", "ChunkedTransfers": True}}
    servers["gateway"]["HttpHeaders"] = {"Authorization": f"Bearer {TOKEN}"}
    web = {"Enable": True, "Root": "/dicom-web/", "Servers": servers}
    with orthanc(DicomWeb=web) as archive:
        for uid in ("1.2.3.7", "1.2.3.8"):
            (tmp_path / "one.dcm").write_bytes(ct_image(uid))
            archive.add(tmp_path / "one.dcm")
        (study,) = archive.get("/studies")
        body = f'{{"Resources": ["{study}"], "Synchronous": true}}'.encode()
        archive.request("POST", "/dicom-web/servers/gateway/stow", body)
    assert sorted(inbox.files) == ["1.2.3.7", "1.2.3.8"]


def test_without_stow_there_is_no_route(tmp_path: Path) -> None:
    receiver = ReceiverSection(enabled=True, calling_ae_titles=("SCANNER",))
    assert stow_routes(GatewayConfig(receiver=receiver), KeepingInbox(tmp_path)) == []
