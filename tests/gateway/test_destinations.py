"""Results at a real archive, and archives that do not take them."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from ich_tf.gateway.config import (
    DestinationSection,
    GatewayConfig,
    LimitsSection,
    StowSection,
    TlsSection,
)
from ich_tf.gateway.destinations import make_destination
from ich_tf.gateway.ports import SendFailed
from tests.support.certificates import make_pair, needs_openssl
from tests.support.dicom_files import make_dicom
from tests.support.http_servers import Request, http_server, response
from tests.support.orthanc import Orthanc, needs_orthanc, orthanc

SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def send(files: list[Path], tls_section: TlsSection | None = None, **section: Any) -> None:
    config = GatewayConfig(
        stow=StowSection(enabled=True),
        destination=DestinationSection(**section),
        tls=tls_section or TlsSection(),
        limits=LimitsSection(association_minutes=0.02),
    )
    destination = make_destination(config)
    assert destination is not None
    destination.send(files)


def failure(files: list[Path], tls_section: TlsSection | None = None, **section: Any) -> SendFailed:
    with pytest.raises(SendFailed) as raised:
        send(files, tls_section, timeout_seconds=0.4, **section)
    for private in ("Secret", "P1", "1.2.4", "1.2.3"):
        assert private not in raised.value.text.replace("127.0.0.1", "")
    return raised.value


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two objects of one study."""
    folder = tmp_path_factory.mktemp("results")
    paths = []
    for number, sop_class in enumerate((SECONDARY_CAPTURE, SR)):
        tags = {
            "SOPInstanceUID": f"1.2.3.{number + 1}",
            "SOPClassUID": sop_class,
            "SeriesInstanceUID": f"1.2.5.{number + 1}",
            "Modality": ("OT", "SR")[number],
        }
        data = make_dicom(np.zeros((32, 32), np.int16), tags=tags)
        path = folder / f"{number}.dcm"
        # make_dicom's meta information names CT.
        path.write_bytes(data)
        set_meta(path, sop_class, tags["SOPInstanceUID"])
        paths.append(path)
    return paths


def set_meta(path: Path, sop_class: str, uid: str) -> None:
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path)


@pytest.fixture(scope="module")
def archive() -> Iterator[Orthanc]:
    with orthanc(user="gateway") as running:
        yield running


@needs_orthanc
@pytest.mark.parametrize("kind", ["dimse", "dicomweb"])
def test_results_land_in_their_study_once(
    archive: Orthanc, files: list[Path], kind: str, tmp_path: Path
) -> None:
    import base64

    token = tmp_path / "token"
    token.write_text("Basic " + base64.b64encode(b"gateway:secret").decode())
    section = {
        "dimse": {"port": archive.port, "ae_title": archive.ae_title},
        "dicomweb": {"url": archive.dicomweb, "token_file": str(token)},
    }[kind]
    for study in archive.get("/studies"):
        archive.request("DELETE", f"/studies/{study}")
    for _ in range(2):
        send(files, kind=kind, **section)
    series = archive.series("1.2.4")
    assert sorted(entry["Modality"] for entry in series) == ["OT", "SR"]
    assert [entry["NumberOfInstances"] for entry in series] == ["1", "1"]
    if kind == "dicomweb":
        assert archive.files("OT") == [files[0].read_bytes()]
        token.write_text("no such token")
        denied = failure(files, kind=kind, **section)
        assert (denied.reason, denied.is_final) == ("DENIED", False)


FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0]}}]}}


def with_reason(code: int) -> bytes:
    return json.dumps(FAILED).replace("[0]", f"[{code}]").encode()


GZIPPED = b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"


def test_answers_of_http(files: list[Path]) -> None:
    answers = (
        (response(500), "SERVER_ERROR", False),
        (response(503), "SERVER_ERROR", False),
        (response(401), "DENIED", False),
        (response(409), "REJECTED", True),
        (response(413), "REJECTED", True),
        (response(404), "BAD_ANSWER", False),
        (response(302), "BAD_ANSWER", False),
        (response(202, with_reason(0xA700)), "SERVER_ERROR", False),
        (response(202, with_reason(0xC000)), "REJECTED", True),
        (response(200, with_reason(0x0122)), "REJECTED", True),
        (response(200, b"<html>"), "BAD_ANSWER", False),
        (response(200, b"[" * 100_000), "BAD_ANSWER", False),
        (response(200, b"{}")[:-1], "BAD_ANSWER", False),  # half an answer
        (GZIPPED, "BAD_ANSWER", False),
        (b"SSH-2.0\r\n", "BAD_ANSWER", False),
        (b"", "BAD_ANSWER", False),
    )
    at_hand = iter(answers)
    with http_server(lambda request: request.answer(next(at_hand)[0])) as url:
        for answer, reason, is_final in answers:
            error = failure(files, kind="dicomweb", url=url)
            assert (error.reason, error.is_final) == (reason, is_final), answer[:200]


@pytest.mark.parametrize(
    "answer", [response(200, b"{}"), response(202, b"{}"), response(200, b"[{}]")]
)
def test_what_is_stored_is_not_sent_again(files: list[Path], answer: bytes) -> None:
    requests: list[Request] = []

    def handle(request: Request) -> None:
        requests.append(request)
        request.answer(answer)

    with http_server(handle) as url:
        send(files, kind="dicomweb", url=f"{url}/dicom-web/")
    (request,) = requests
    assert request.path == "/dicom-web/studies"
    assert all(path.read_bytes() in request.body for path in files)


def test_an_archive_that_is_silent_or_endless_is_left(files: list[Path]) -> None:
    ended = threading.Event()

    def endless(request: Request) -> None:
        request.answer(b"HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n")
        while not ended.wait(0.1):
            request.answer(b" ")

    def silent(_: Request) -> None:
        ended.wait()

    try:
        for handle in (silent, endless):
            with http_server(handle) as url:
                error = failure(files, kind="dicomweb", url=url)
                ended.set()
            assert (error.reason, error.is_final) == ("TIMEOUT", False)
            ended.clear()
    finally:
        ended.set()


def test_nobody_there(files: list[Path]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for section in (
            {"kind": "dimse", "port": port},
            {"kind": "dicomweb", "url": f"http://127.0.0.1:{port}"},
            {"kind": "dimse", "host": "no.such.host.invalid", "allow_plain": True},
        ):
            error = failure(files, **section)
            assert (error.reason, error.is_final) == ("UNREACHABLE", False)


@needs_openssl
def test_certificates_of_archives_are_checked(files: list[Path], tmp_path: Path) -> None:
    import ssl

    authority, other = make_pair(tmp_path, "authority"), make_pair(tmp_path, "other")
    pair = make_pair(tmp_path, "archive", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    trusting = TlsSection(ca_file=str(authority.certificate))
    doubting = TlsSection(ca_file=str(other.certificate))
    with http_server(lambda request: request.answer(response(200, b"{}")), context) as url:
        port = int(url.rsplit(":", 1)[1])
        send(files, trusting, kind="dicomweb", url=url)
        for section in (
            {"kind": "dicomweb", "url": url},
            {"kind": "dimse", "port": port, "tls": True},
        ):
            error = failure(files, tls_section=doubting, **section)
            assert (error.reason, error.is_final) == ("TLS", False)
            assert "certificate" in error.text
    with http_server(lambda request: request.answer(response(200, b"{}"))) as url:
        plain = failure(
            files, tls_section=trusting, kind="dicomweb", url=url.replace("http", "https")
        )
        assert plain.reason == "TLS"


@contextmanager
def scp(handle: Callable[[evt.Event], int], contexts: Any = None, **fields: Any) -> Iterator[int]:
    """An archive by pynetdicom; gives its port."""
    entity = AE("ARCHIVE")
    for name, value in fields.items():
        setattr(entity, name, value)
    entity.supported_contexts = contexts or AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)]
    )
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        entity.shutdown()


def test_statuses_of_c_store(files: list[Path]) -> None:
    came = []

    def handle(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPClassUID)
        return next(statuses)

    failures = (
        (0xA700, "SERVER_ERROR", False),
        (0x0110, "SERVER_ERROR", False),
        (0x0124, "DENIED", False),
        (0xA900, "REJECTED", True),
        (0xC000, "REJECTED", True),
        (0x0122, "REJECTED", True),
    )
    with scp(handle) as port:
        for status, reason, is_final in failures:
            statuses = iter((status, 0))
            error = failure(files, kind="dimse", port=port)
            assert (error.reason, error.is_final) == (reason, is_final)
            assert f"{status:04X}" in error.text
        # What may be better next time is no final failure.
        statuses = iter((0xC000, 0xA700))
        assert not failure(files, kind="dimse", port=port).is_final
        # Warnings, and what was stored before.
        came.clear()
        statuses = iter((0xB000, 0xB007, 0x0111, 0x0000))
        send(files, kind="dimse", port=port)
        send(files, kind="dimse", port=port)
    assert came == [SECONDARY_CAPTURE, SR] * 2


def test_classes_and_titles_that_an_archive_does_not_take(files: list[Path]) -> None:
    def handle(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPClassUID)
        return 0

    came: list[str] = []
    captures = [c for c in AllStoragePresentationContexts if c.abstract_syntax == SECONDARY_CAPTURE]
    with scp(handle, captures) as port:
        error = failure(files, kind="dimse", port=port)
        assert (error.reason, error.is_final) == ("REJECTED", True)
        assert "Comprehensive 3D SR" not in error.text
        assert "Comprehensive SR Storage" in error.text
        # The others went.
        assert came == [SECONDARY_CAPTURE]
        assert failure(files[1:], kind="dimse", port=port).reason == "REJECTED"
    with scp(handle, require_calling_aet=["ANOTHER"]) as port:
        error = failure(files, kind="dimse", port=port)
        assert (error.reason, error.is_final) == ("DENIED", False)
        assert "Calling AE title" in error.text


def accept_association(client: socket.socket) -> None:
    """Accepts what `send` asks for, by hand: the first two contexts (PS3.8 9.3.3)."""

    def item(kind: int, data: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(data)) + data

    client.recv(65536)
    contexts = b"".join(
        item(0x21, struct.pack(">BxBx", number, 0) + item(0x40, b"1.2.840.10008.1.2.1"))
        for number in (1, 3)
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    body = struct.pack(">Hxx16s16s32x", 1, b"ARCHIVE".ljust(16), b"ICH_TF".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    client.sendall(struct.pack(">BxL", 2, len(body)) + body)


@pytest.mark.parametrize("behaviour", ["nothing", "silence", "half", "trickle"])
def test_an_archive_that_says_little_is_left(files: list[Path], behaviour: str) -> None:
    """Of DIMSE: no association; no answer; a message without an end; one, byte by byte."""
    ended = threading.Event()

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            if behaviour != "nothing":
                accept_association(client)
            if behaviour in ("half", "trickle"):
                client.sendall(struct.pack(">BxL", 4, 5000))
            try:
                while not ended.wait(0.1):
                    if behaviour == "trickle":
                        client.sendall(b"\0")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            error = failure(files, kind="dimse", port=listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()
    assert error.reason == ("TIMEOUT" if behaviour == "nothing" else "BAD_ANSWER")
    assert not error.is_final


def test_files_that_are_no_dicom_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM")
    error = failure([path], kind="dimse", port=1)
    assert (error.reason, error.is_final) == ("REJECTED", True)


def test_nothing_is_sent_where_nothing_is_to_be() -> None:
    assert make_destination(GatewayConfig(stow=StowSection(enabled=True))) is None
