"""Results at a real archive, and archives that are away or of another certificate."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_tf.gateway.config import (
    GatewayConfig,
    StowSection,
    TlsSection,
)
from ich_tf.gateway.destinations import make_destination
from tests.support.certificates import make_pair, needs_openssl
from tests.support.destinations import failure, send, write_results
from tests.support.http_servers import http_server, response
from tests.support.orthanc import Orthanc, needs_orthanc, orthanc
from tests.support.secret_files import write_secret


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_results(tmp_path_factory.mktemp("results"))


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

    text = "Basic " + base64.b64encode(b"gateway:secret").decode()
    token = write_secret(tmp_path / "token", text)
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


def test_files_that_are_no_dicom_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM")
    error = failure([path], kind="dimse", port=1)
    assert (error.reason, error.is_final) == ("REJECTED", True)


def test_nothing_is_sent_where_nothing_is_to_be() -> None:
    assert make_destination(GatewayConfig(stow=StowSection(enabled=True))) is None
