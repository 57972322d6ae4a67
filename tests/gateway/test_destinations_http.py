"""Answers of archives to STOW-RS."""

import json
import threading
from pathlib import Path

import pytest

from tests.support.destinations import failure, send, write_results
from tests.support.http_servers import Request, http_server, response


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_results(tmp_path_factory.mktemp("results"))


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
