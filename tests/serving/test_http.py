"""The server as its clients, proxies and watchers meet it: paths, headers, connections."""

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ich_tf.errors import ConfigError
from ich_tf.serving import connections, request_body
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.limits import MIB, Limits
from tests.support.made_up import make_run
from tests.support.serving import Upload, files_of, post, running, served, wait


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)


@pytest.fixture(scope="module")
def uploads(phantom_dir: Path) -> list[Upload]:
    return files_of(phantom_dir / "stage_2_test", 1)


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    limits = Limits(body_mb=1, rate_kb=8, rate_seconds=1.0)
    with running(model, tmp_path_factory.mktemp("state"), limits, root_path="/ich") as started:
        yield started


def connect(client: httpx.Client) -> socket.socket:
    sending = socket.create_connection((client.base_url.host, client.base_url.port or 80))
    sending.settimeout(30)
    return sending


def answer_to(client: httpx.Client, request: str, body: bytes = b"") -> str:
    """What comes back until the server closes the connection."""
    with connect(client) as sending:
        sending.sendall(request.replace("\n", "\r\n").encode() + body)
        parts = []
        while part := sending.recv(1 << 16):
            parts.append(part)
    return b"".join(parts).decode("latin-1")


def test_under_a_sub_path(client: httpx.Client, uploads: list[Upload]) -> None:
    """A proxy removes it from requests, or does not."""
    for path in ("/", "/app.js", "/api/model", "/healthz", "/api/docs", "/api/openapi.json"):
        for root in ("", "/ich"):
            assert client.get(root + path).status_code == 200, root + path
    bare = client.get("/ich")
    assert (bare.status_code, bare.headers["location"]) == (308, "/ich/")
    assert client.get("/ich/api/nothing").json()["error"]["code"] == "NO_PAGE"
    answer = client.post("/ich/api/studies", files=[("files", uploads[0])])
    assert answer.headers["location"] == f"/ich/api/studies/{answer.json()['study_id']}"
    assert wait(client, answer.json()["study_id"])["state"] == "done"
    assert client.get("/ich/api/openapi.json").json()["servers"] == [{"url": "/ich"}]
    docs = client.get("/ich/api/docs").text
    # Without an icon a browser asks for that of the host, which is not this server's.
    assert 'href="openapi.json"' in docs and 'href="../favicon.svg"' in docs
    # Nothing of the page is asked for by an absolute path.
    for name in ("", "app.js", "api.js", "style.css"):
        assert not re.search(r"""["'(]/(?!/)[a-z]""", client.get(f"/ich/{name}").text), name


@pytest.mark.parametrize("given", ["ich", "/ich/", "/", "//a", "/a b", "/a/../b"])
def test_what_is_no_sub_path(given: str) -> None:
    with pytest.raises(ConfigError, match="root_path"):
        ServeConfig(root_path=given)


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/", "/app.js", "/api/model", "/ich/metrics"):
        answer = client.head(path)
        assert answer.status_code == 200 and answer.content == b"", path
    same = ("content-type", "content-length")
    asked, got = client.head("/app.js").headers, client.get("/app.js").headers
    assert [asked[name] for name in same] == [got[name] for name in same]
    assert client.head("/api/nothing").status_code == 404


def test_a_malformed_host_is_refused(client: httpx.Client) -> None:
    for host in ("[", "[::1", "a]b", ""):
        told = answer_to(client, f"GET /healthz HTTP/1.0\nHost: {host}\n\n")
        assert told.startswith("HTTP/1.1 421 "), host
    told = answer_to(
        client, "DELETE /api/studies/a HTTP/1.0\nHost: localhost\nOrigin: http://[\n\n"
    )
    assert told.startswith("HTTP/1.1 403 ")


def test_the_page_is_kept_and_asked_for_again(client: httpx.Client) -> None:
    answer = client.get("/app.js")
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get("/app.js", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert client.get("/api/model").headers["cache-control"] == "no-store"


def test_pixels_are_packed_only_for_who_can_unpack_them(
    client: httpx.Client, uploads: list[Upload]
) -> None:
    study = served(client, uploads)
    for path in ("pixels", "heatmaps/any"):
        route = f"/api/studies/{study['study_id']}/series/0/slices/0/{path}"
        plain = None
        for accepted, is_packed in {
            "identity": False, "gzip;q=0": False, "br, *;q=0": False, "deflate": False,
            "gzip": True, "br, GZIP;q=0.5": True, "*": True,
        }.items():  # fmt: skip
            headers = {"accept-encoding": accepted}
            with client.stream("GET", route, headers=headers) as answer:
                raw = b"".join(answer.iter_raw())
            assert answer.headers["vary"] == "accept-encoding"
            assert ("content-encoding" in answer.headers) == is_packed, accepted
            unpacked = gzip.decompress(raw) if is_packed else raw
            assert unpacked == (plain or unpacked)
            plain = unpacked
        assert plain is not None and len(plain) == 64 * 64 * (2 if path == "pixels" else 1)


def test_a_refused_upload_is_read_to_its_end(client: httpx.Client) -> None:
    """By HTTP/1.0 as proxies speak it: the answer comes, and no reset."""
    head = "POST /api/studies HTTP/1.0\nHost: localhost\n"
    kind = "Content-Type: multipart/form-data; boundary=x\n"
    size = 8 * MIB
    for headers in (kind, "", "Origin: http://evil.example\n"):
        request = f"{head}{headers}Content-Length: {size}\n\n"
        told = answer_to(client, request, bytes(size))
        status, _, body = told.partition("\r\n\r\n")
        assert json.loads(body)["error"]["code"] in ("TOO_LARGE", "FOREIGN_ORIGIN")
        assert status.startswith(("HTTP/1.1 413", "HTTP/1.1 403"))
    # A client that waits to be told to go on sends nothing.
    request = f"{head.replace('1.0', '1.1')}{kind}Content-Length: {size}\nExpect: 100-continue\n\n"
    told = answer_to(client, request)
    assert told.startswith("HTTP/1.1 413") and "connection: close" in told


def test_a_body_that_stops_is_not_waited_for(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "_IDLE_SECONDS", 0.1)
    request = "POST /api/model HTTP/1.1\nHost: localhost\nContent-Length: 999\n\n"
    told = answer_to(client, request, b"x")
    assert told.startswith("HTTP/1.1 405") and "connection: close" in told


def test_a_header_that_does_not_end_ends_the_connection(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    for begun in ("", "GET /healthz HTTP/1.1\nHost: localhost\nX: "):
        assert answer_to(client, begun) == ""
    # After an answer, too.
    with connect(client) as sending:
        sending.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sending.recv(1 << 16).startswith(b"HTTP/1.1 200")
        sending.sendall(b"G")
        while sending.recv(1 << 16):
            pass


def test_an_answer_that_nobody_reads_ends_the_connection(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CWE-400: whoever asked and never read held one of the connections for good."""
    path = "/style.css"
    size = len(client.get(path, headers={"accept-encoding": "identity"}).content)
    count = (16 << 20) // size
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def received(pause: float) -> int:
        with connect(client) as asking:
            if pause:  # what is read through a small window takes a minute
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            threading.Thread(target=_send_all, args=(asking, request * count)).start()
            time.sleep(pause)
            total = 0
            try:
                while total < count * size and (data := asking.recv(1 << 16)):
                    total += len(data)
            except ConnectionError:
                pass
            return total

    assert received(0.0) >= count * size
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.2)
    assert received(3.0) < count * size


def _send_all(asking: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        asking.sendall(data)


def test_slow_uploads_keep_nobody_out(client: httpx.Client, uploads: list[Upload]) -> None:
    """Many begin, and take no place in the queue; those below the least rate are ended."""
    begun = [connect(client) for _ in range(9)]
    request = (
        "POST /api/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
        "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n--xyz\r\n"
    )
    for sending in begun:
        sending.sendall(request.encode())
    while "ich_tf_uploads_under_way 9.0" not in client.get("/metrics").text:
        time.sleep(0.01)
    assert served(client, uploads)["state"] == "done"
    for sending in begun:
        with sending:
            end = time.monotonic() + 30
            sending.settimeout(0.05)
            while True:
                assert time.monotonic() < end
                sending.send(b"x")
                try:
                    told = sending.recv(1 << 16)
                    break
                except TimeoutError:
                    continue
            assert told.startswith(b"HTTP/1.1 408")
    assert post(client, uploads).status_code == 202


def test_the_description_names_tokens_errors_and_headers(client: httpx.Client) -> None:
    openapi = client.get("/api/openapi.json").json()
    assert openapi["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert {} in openapi["security"], "this server has no token"
    paths = openapi["paths"]
    assert paths["/healthz"]["get"]["security"] == []
    sent = paths["/api/studies"]["post"]["responses"]
    assert {"202", "400", "401", "408", "413", "503", "507"} <= set(sent)
    assert "Location" in sent["202"]["headers"] and "Retry-After" in sent["503"]["headers"]
    table = paths["/api/studies/{study_id}/results.csv"]["get"]["responses"]["200"]
    assert list(table["content"]) == ["text/csv"]
    heat_map = "/api/studies/{study_id}/series/{series}/slices/{number}/heatmaps/{name}"
    assert "X-Peak" in paths[heat_map]["get"]["responses"]["200"]["headers"]


def test_studies_are_not_listed(client: httpx.Client) -> None:
    answer = client.get("/api/studies")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "NO_LIST")
    assert not client.get("/api/service").json()["lists_studies"]


def test_counters_name_the_model(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    model = client.get("/api/model").json()
    assert f'sha256="{model["sha256"]}"' in text
    for name in ("ich_tf_queue_seconds_count", "ich_tf_studies_kept_bytes"):
        assert re.search(rf"^{name} \d", text, re.MULTILINE)
    free = re.search(r"^ich_tf_disk_free_bytes (\S+)$", text, re.MULTILINE)
    assert free and np.isfinite(float(free[1])) and float(free[1]) > 0
