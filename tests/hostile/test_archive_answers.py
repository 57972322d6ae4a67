"""Archives that answer a gateway as an attacker would, each after a public advisory or class.

The promise of all: the question fails with a reason of one line, memory and time are bounded, the
spool is empty, and nothing of the answer is quoted. Archives that are silent or endless while
they take results are in `tests/gateway/test_destinations_http.py`, incomplete answers in
`test_poller.py`; what senders do by STOW-RS and C-STORE in `test_stow.py` and
`test_receiver_limits.py`.
"""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from ich_tf.gateway.archive import Archive, ArchiveError
from ich_tf.gateway.config import LimitsSection, TlsSection
from ich_tf.gateway.dicomweb import store
from tests.gateway.test_poller import ask, polling
from tests.support.http_servers import Request, http_server, response

MIB = 1 << 20
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"


def asked(answer: Callable[[Request], None], folder: Path, minutes: float = 1.0) -> str:
    """What a poller says of an archive."""
    limits = LimitsSection(association_minutes=minutes, association_mb=64)
    with http_server(answer) as url, polling(url, folder, limits) as (poller, _):
        told = ask(poller)
    assert told and "\n" not in told and len(told) < 300
    return told


def replying(data: bytes) -> Callable[[Request], None]:
    return lambda request: request.answer(data)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_cve_2026_5438_compressed_answers_nobody_asked_for(tmp_path: Path, coding: str) -> None:
    """A bomb in an answer (CWE-409): what was asked for is `identity`, and nothing is unpacked."""
    body = gzip.compress(bytes(8 * MIB), 9)
    head = f"{HEAD}Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert "compressed answer" in asked(replying(head.encode() + body), tmp_path)


LENGTHS = {
    "too long": "Content-Length: 99999999999999\r\nConnection: close\r\n\r\n[]",
    "negative": "Content-Length: -1\r\n\r\n[]",
    "5,000 digits": f"Content-Length: {'9' * 5000}\r\n\r\n[]",
    "two": "Content-Length: 2\r\nContent-Length: 5\r\n\r\n[]",
    "chunks of 40 digits": f"Transfer-Encoding: chunked\r\n\r\n{'F' * 40}\r\n[]",
    "chunks that end early": "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nFF\r\n[]",
    "headers of a megabyte": "A: b\r\n" * 150_000 + "\r\n",
}


@pytest.mark.parametrize("rest", LENGTHS.values(), ids=LENGTHS.keys())
def test_cve_2026_5440_lengths_that_lie(tmp_path: Path, rest: str) -> None:
    """Content-Length and chunks as in `test_http.py`, from the other side."""
    assert "broke" in asked(replying((HEAD + rest).encode()), tmp_path)


def test_cwe_400_an_answer_that_never_begins(tmp_path: Path) -> None:
    """Interim answers without end, or a header that trickles: each byte came in time."""

    def interim(request: Request) -> None:
        for _ in range(200):
            request.answer(b"HTTP/1.1 102 Processing\r\n\r\n")
            time.sleep(0.02)

    def trickle(request: Request) -> None:
        for letter in HEAD * 3:
            request.answer(letter.encode())
            time.sleep(0.02)

    for answer in (interim, trickle):
        assert "takes too long" in asked(answer, tmp_path, minutes=0.01)


JSONS = {
    "values without end": b"[" + b"[]," * (2 * MIB) + b"[]]",
    "depth": b"[" * 4 * MIB,
    "digits": b'[{"0020000D": {"Value": [' + b"9" * 4 * MIB + b"]}}]",
    "surrogates": b'["\\ud800"]',
    "NaN": b"[NaN, Infinity]",
}


@pytest.mark.parametrize("body", JSONS.values(), ids=JSONS.keys())
def test_cwe_776_json_that_grows(tmp_path: Path, body: bytes) -> None:
    """A billion laughs needs no entities: 60 MiB of empty lists were 2 GB of objects."""
    tracemalloc.start()
    try:
        assert "the archive's answer" in asked(replying(response(200, body)), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1" * 400, -1, 1.5, True, {"a": 1}, ["1"], None, "٣", "1_0"]
)
def test_cwe_1284_numbers_of_instances(tmp_path: Path, number: object) -> None:
    """A number of 5,000 digits ended the poller's round with an error that nobody expected."""
    study = {
        "0020000D": {"vr": "UI", "Value": ["1.2.4"]},
        "00201208": {"vr": "IS", "Value": [number]},
    }

    def answer(request: Request) -> None:
        is_study = request.path.startswith("/studies?")
        request.answer(response(200, json.dumps([study] if is_study else []).encode()))

    with http_server(answer) as url, polling(url, tmp_path) as (poller, _):
        assert ask(poller) == ""


PARTS = {
    "a part without end": b"--B\r\nContent-Type: application/dicom\r\n\r\n" + bytes(70 * MIB),
    "headers without end": b"--B\r\n" + b"A: b\r\n" * 50_000,
    "no first part": b"\r\n" * 500_000,
    "another kind": b"--B\r\nContent-Type: text/html\r\n\r\n<script>\r\n--B--\r\n",
}


@pytest.mark.parametrize("body", PARTS.values(), ids=PARTS.keys())
def test_cwe_770_parts_of_images(tmp_path: Path, body: bytes) -> None:
    """Images by WADO-RS that are none: read to the limit, and nothing stays in the spool."""
    study = {"0020000D": {"vr": "UI", "Value": ["1.2.4"]}}
    image = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.1"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.5"]},
    }

    def answer(request: Request) -> None:
        path = request.path.split("?")[0]
        if "/series/" in path:
            request.answer(response(200, body, "multipart/related; boundary=B"))
        else:
            found = image if path.endswith("/instances") else study
            request.answer(response(200, json.dumps([found]).encode()))

    told = asked(answer, tmp_path)
    assert "script" not in told


def test_cwe_117_reasons_of_failed_objects(tmp_path: Path) -> None:
    """STOW-RS: an answer that names a million reasons, or text, is told in one line."""
    reasons = [*range(1000), 10**400, -1, "\n[forged]", None]
    failed = [{"00081197": {"Value": [reason]}} for reason in reasons]
    body = json.dumps({"00081198": {"Value": failed}}).encode()
    file = tmp_path / "result.dcm"
    file.write_bytes(b"result")
    with http_server(replying(response(202, body))) as url:
        archive = Archive(url, "", 5.0, TlsSection(), LimitsSection())
        with pytest.raises(ArchiveError) as caught:
            store(archive, [file])
        archive.close()
    text = caught.value.text
    assert len(text) < 200 and "forged" not in text and text.isprintable()
    assert f"{len(reasons)} of 1 objects" in text
