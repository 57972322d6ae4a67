"""The webhook: another program is told once of each end, whatever it answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ich_tf.errors import InputError
from ich_tf.gateway.config import WebhookSection
from ich_tf.gateway.webhook import Webhook
from tests.support.gateway import SECRETS, Bench, fake_predict
from tests.support.http_servers import Request, http_server


@contextmanager
def listener(answer: bytes) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A program that is told: its address, and what it was told."""
    told: list[dict[str, Any]] = []

    def handle(request: Request) -> None:
        told.append(json.loads(request.body))
        request.answer(answer)

    with http_server(handle) as url:
        yield f"{url}/hook", told


def steps(webhook: Webhook, most: int = 5) -> int:
    """Makes all steps that are due, and counts them."""
    for number in range(most):
        if webhook.step():
            return number
    return most


def test_a_study_that_begins_again_is_told_of_at_its_end(tmp_path: Path) -> None:
    errors = [InputError("no.")]

    def predict(images: Path, work: Path, results: Path):
        if errors:
            raise errors.pop()
        return fake_predict(images, work, results)

    with listener(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, told):
        bench = Bench(tmp_path, predict, webhook=WebhookSection(url=url))
        webhook = Webhook(bench.config, bench.gateway.notices)
        bench.send()
        bench.run()
        assert bench.gateway.queue.retry(1)
        assert steps(webhook) == 0 and not told
        bench.run()
        assert steps(webhook) == 1
    assert [row["state"] for row in told] == ["done"]
    assert not [secret for secret in SECRETS if secret in json.dumps(told)]


@pytest.mark.parametrize(
    ("answer", "is_told"),
    [
        # A length that would fill the memory, of which nothing follows.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", True),
        (b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", False),
        (b"no HTTP\r\n\r\n", False),
    ],
)
def test_only_the_status_of_an_answer_counts(tmp_path: Path, answer: bytes, is_told: bool) -> None:
    with listener(answer) as (url, told):
        bench = Bench(tmp_path, webhook=WebhookSection(url=url))
        webhook = Webhook(bench.config, bench.gateway.notices)
        bench.send()
        bench.run()
        assert steps(webhook) == 1 and len(told) == 1
        bench.clock.now += 5
        assert steps(webhook) == (0 if is_told else 1)
