"""Warnings that others cause do not fill a disk."""

import logging

import pytest

from ich_tf.runtime import rationed_log
from ich_tf.runtime.rationed_log import RationedLog, RationedWarnings


def test_warnings_of_a_minute_have_a_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(rationed_log.time, "monotonic", lambda: now)
    log = RationedLog(logging.getLogger("rationed"), most=2)
    for number in range(5):
        log.warning("connection %d", number)
    now = 61.0
    log.warning("connection %d", 5)
    now = 122.0
    log.warning("connection %d", 6)
    assert caplog.messages == [
        "connection 0",
        "connection 1",
        "3 more warnings of that minute were not logged",
        "connection 5",
        "connection 6",
    ]


def test_a_librarys_warnings_are_rationed_and_its_errors_are_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(rationed_log.time, "monotonic", lambda: now)
    log = logging.getLogger("some.library")
    log.addFilter(RationedWarnings(most=2))
    for number in range(5):
        log.warning("warning %d", number)
        log.error("error %d", number)
    now = 61.0
    log.warning("later")
    texts = [record.getMessage() for record in caplog.records]
    assert [text for text in texts if text.startswith("error")] == [f"error {k}" for k in range(5)]
    assert [text for text in texts if not text.startswith("error")] == [
        "warning 0",
        "warning 1",
        "3 more warnings of that minute were not logged",
        "later",
    ]
