"""Requests that attack a server of HTTP, by real sockets, each after a public advisory or class.

The promise of all: one answer with a code, a connection that is closed where its next request could
be another's, bounded memory and time, and no text of the client in the answer. Headers and bodies
that do not end (CWE-400, Slowloris), refused bodies, and limits of sizes are in
`tests/serving/test_http.py`, `test_api.py` and `test_uploads.py`, those of the gateway in
`tests/gateway/test_stow.py`: what is asked here of the page's server holds for both, which share
their protocol and guard.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ich_tf.serving.limits import Limits
from tests.support.made_up import make_run
from tests.support.serving import running

HOST = "Host: localhost\r\n"
CLOSE = f"{HOST}Connection: close\r\n"
KIND = "Content-Type: multipart/form-data; boundary=x\r\n"
SEND = f"POST /api/studies HTTP/1.1\r\n{HOST}{KIND}"
FORM = '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nxx\r\n--x--\r\n'
SMUGGLED = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def client(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model = make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)
    with running(model, state, Limits(body_mb=1)) as started:
        yield started


def answers(client: httpx.Client, request: str | bytes) -> bytes:
    """All that the server sends until it closes the connection."""
    data = request.encode("latin-1") if isinstance(request, str) else request
    received = b""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as wire:
        wire.settimeout(20)
        with contextlib.suppress(ConnectionError):
            wire.sendall(data)
            while part := wire.recv(1 << 16):
                received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", received, re.MULTILINE)]


def code(received: bytes) -> str:
    return json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"]


LENGTHS = {
    "CVE-2026-5440 Orthanc: 5,000 digits": (f"Content-Length: {'9' * 5000}", 400),
    "CVE-2026-5440 Orthanc: 20 digits": (
        f"Content-Length: {'9' * 20}\r\nExpect: 100-continue", 413,
    ),
    "GHSA-v9pg-7xvm-68hf python-multipart: negative": ("Content-Length: -1", 400),
    "CWE-444: a sign": ("Content-Length: +5", 400),
    "CWE-444: two lengths": ("Content-Length: 78\r\nContent-Length: 5", 400),
    "CWE-444: a length and chunks": (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0", 400,
    ),
    "CWE-444: another coding": ("Transfer-Encoding: gzip, chunked", 400),
    "CWE-444: chunks by another name": ("Transfer-Encoding: xchunked", 400),
    "CWE-444: a folded name": ("Transfer-Encoding : chunked", 400),
    "CWE-444: a body that is too short": ("Connection: close\r\nContent-Length: 20", 400),
}  # fmt: skip


@pytest.mark.parametrize(("header", "status"), LENGTHS.values(), ids=LENGTHS.keys())
def test_lengths_that_lie(client: httpx.Client, header: str, status: int) -> None:
    """Two ends of one body: what follows must not become a request of its own (smuggling)."""
    received = answers(client, f"{SEND}{header}\r\n\r\n{SMUGGLED}")
    assert statuses(received) == [status]


CHUNKS = {
    "CWE-190: 40 digits": "F" * 40 + "\r\n",
    "CWE-190: negative": "-1\r\n",
    "CVE-2025-43859 h11: another end": "2\r\nabXX0\r\n\r\n",
    "CVE-2025-22871: a bare line feed": f"2\nab\n0\n\n{SMUGGLED}",
    "CVE-2025-55315 Kestrel: a line feed in an extension": f"2;a\nb\r\nab\r\n0\r\n\r\n{SMUGGLED}",
    "CWE-770: an extension without end": "2;" + "a" * 1_000_000,
    "CWE-770: trailers without end": "0\r\n" + "A: b\r\n" * 20_000,
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks_that_lie(client: httpx.Client, chunks: str) -> None:
    """Sizes beyond any, and lines that a proxy ends elsewhere: 400, and the connection ends."""
    received = answers(client, f"{SEND}Transfer-Encoding: chunked\r\n\r\n{chunks}\r\n\r\n")
    assert statuses(received) in ([400], [])  # none, if it was reset while we still sent


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "x"])
def test_cve_2026_5438_orthanc_compressed_bodies(client: httpx.Client, coding: str) -> None:
    """A bomb by Content-Encoding: no body is unpacked, whatever coding it names."""
    length = f"Content-Encoding: {coding}\r\nContent-Length: {len(FORM)}\r\n\r\n{FORM}"
    received = answers(client, f"{SEND}Connection: close\r\n{length}")
    assert (statuses(received), code(received)) == ([415], "ENCODED")


BODIES = {
    "CVE-2024-24762 python-multipart: options": ('!="' + '\\"' * 15_000, "ab", "NOT_MULTIPART"),
    "CVE-2024-53981 python-multipart: line ends before": (
        "boundary=x", "\r\n" * 400_000, "BAD_MULTIPART",
    ),
    "CVE-2024-47874 starlette: a field without a name": (
        "boundary=x", "--x\r\nContent-Disposition: form-data\r\n\r\n" + "a" * 900_000,
        "UNKNOWN_FIELD",
    ),
    "CVE-2026-42561 python-multipart: headers without end": (
        "boundary=x", "--x\r\n" + "A: b\r\n" * 50_000, "BAD_MULTIPART",
    ),
    "CVE-2026-42561 python-multipart: a header without end": (
        "boundary=x", "--x\r\nA: " + "b" * 400_000, "BAD_MULTIPART",
    ),
    "CWE-770: a boundary of 50,000 characters": ("boundary=" + "b" * 50_000, "ab", "BAD_MULTIPART"),
    "CWE-770: parts without end": (
        "boundary=x", '--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n\r\n' * 15_000,
        "TOO_MANY_FILES",
    ),
    "GHSA-vffw-93wf-4j4q python-multipart: extended names": (
        "boundary=x",
        "--x\r\nContent-Disposition: form-data; name*=utf-8''files\r\n\r\nx\r\n--x--\r\n",
        "UNKNOWN_FIELD",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "body", "expected"), BODIES.values(), ids=BODIES.keys())
def test_multipart_bodies(client: httpx.Client, options: str, body: str, expected: str) -> None:
    """Bodies that cost a parser minutes or memory: an answer at once, and nothing is kept."""
    head = f"POST /api/studies HTTP/1.1\r\n{CLOSE}Content-Type: multipart/form-data; {options}\r\n"
    received = answers(client, f"{head}Content-Length: {len(body)}\r\n\r\n{body}")
    assert (statuses(received), code(received)) in (([400], expected), ([413], expected))


NAMES = ["../../x", "/etc/x", "a\\..\\b", "%00", "-rf", "CON", "\x1b[2J", "x" * 4000, "=cmd|x"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:12])
def test_cwe_22_names_of_uploaded_files(client: httpx.Client, state: Path, name: str) -> None:
    """Names that lead elsewhere: no name reaches the disk, an answer or a log line."""
    before = {path.name for path in state.parent.iterdir()}
    answer = client.post("/api/studies", files=[("files", (name, b"no DICOM file"))])
    assert answer.status_code == 202
    study = client.get(answer.headers["location"]).text
    assert name not in study and {path.name for path in state.parent.iterdir()} == before
    client.delete(answer.headers["location"])


PATHS = [
    "/../../../../etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd",
    "/..%5c..%5cwindows", "/%00", "/app.js%00.html", f"/{'a' * 4000}", "/%ff%fe%ed%b0%80", "/CON",
    "//evil.example/share", "/%5c%5cevil.example%5cshare", "@evil.example/", "http://evil.example/",
    "/api/studies/..%2f..%2fx", "/api/studies/a%0d%0aSet-Cookie:%20x=1", "/api/studies/%00",
    f"/api/studies/x/series/{'9' * 40}/slices/0/pixels", "/api/studies/x/series/-1/slices/0/pixels",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30])
def test_cwe_22_paths_of_requests(client: httpx.Client, path: str) -> None:
    """CVE-2026-48818 and CVE-2026-54282 (starlette: UNC paths, paths that become hosts), CWE-113.

    Nothing is served from elsewhere, no header is split, nobody is sent to another host.
    """
    received = answers(client, f"GET {path} HTTP/1.1\r\n{CLOSE}\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert statuses(received)[0] in (404, 422, 307), received[:200]
    assert b"root:" not in body and b"set-cookie" not in head.lower()
    for location in re.findall(rb"location: (\S+)", head):
        assert re.match(rb"/(?!/)", location), location


HOSTS = {
    "CWE-350, DNS rebinding": "evil.example",
    "CVE-2026-48710 starlette: a path in it": "localhost/api/x",
    "a query in it": "localhost?x",
    "a user before it": "evil.example@127.0.0.1",
    "a user after it": "127.0.0.1@evil.example",
    "an address that begins like ours": "127.0.0.1.evil.example",
    "another notation of the address": "0x7f.1",
    "none": "",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
def test_hosts_that_are_not_ours(client: httpx.Client, host: str) -> None:
    """Without a token the server answers by its own names alone, whatever a proxy's header says."""
    head = f"GET /api/model HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    received = answers(client, f"{head}X-Forwarded-Host: localhost\r\n\r\n")
    assert statuses(received) in ([421], [400])


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]"]
)
def test_hosts_that_are_ours(client: httpx.Client, name: str) -> None:
    received = answers(
        client, f"GET /api/model HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    )
    assert statuses(received) == [200]


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://localhost:3000", "file://", "http://[", ""]
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_cwe_352_pages_of_other_sites(client: httpx.Client, method: str, origin: str) -> None:
    """A page of another site, another port or a sandbox sends nothing to a server on localhost."""
    head = f"{method} /api/studies/x HTTP/1.1\r\n{CLOSE}Origin: {origin}\r\nContent-Length: 0\r\n"
    received = answers(client, f"{head}\r\n")
    assert (statuses(received), code(received)) == ([403], "FOREIGN_ORIGIN")


def test_cwe_1385_no_websocket_is_opened(client: httpx.Client) -> None:
    """A websocket has no rule of origins: none is spoken, and none is switched to."""
    received = answers(
        client,
        f"GET /api/model HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    assert statuses(received) == [200] and b"upgrade" not in received.lower()


@pytest.mark.parametrize(
    "ranges", [",".join(f"{i}-{i}" for i in range(3000)), ",".join(["0-"] * 99)]
)
def test_cve_2025_62727_starlette_ranges(client: httpx.Client, ranges: str) -> None:
    """Thousands of ranges of one file, merged in quadratic time: the file at most once."""
    size = len(client.get("/app.js").content)
    received = answers(client, f"GET /app.js HTTP/1.1\r\n{CLOSE}Range: bytes={ranges}\r\n\r\n")
    assert statuses(received)[0] in (200, 206, 400, 416) and len(received) < size + 2000


def test_cwe_770_headers_of_megabytes(client: httpx.Client) -> None:
    for headers in ("A: b\r\n" * 200_000, "A: " + "b" * 1_000_000):
        received = answers(client, f"GET /healthz HTTP/1.1\r\n{HOST}{headers}\r\n\r\n")
        assert statuses(received) in ([400], [431], [])


def test_the_server_still_serves(client: httpx.Client, state: Path) -> None:
    """After all of it: healthy, no upload under way, none left on the disk."""
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "ich_tf_uploads_under_way 0.0" in client.get("/metrics").text
    assert list((state / "uploads").iterdir()) == []
