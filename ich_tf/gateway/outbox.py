"""The outbox: results are sent, the most urgent first, until the destination takes them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ich_tf.gateway.config import DestinationSection
from ich_tf.gateway.folders import Folders
from ich_tf.gateway.ids import read_ids
from ich_tf.gateway.monitoring import GatewayMonitor
from ich_tf.gateway.ports import Destination, SendFailed
from ich_tf.gateway.queue import StudyQueue
from ich_tf.gateway.states import DONE, FAILED, Study
from ich_tf.serving.monitoring import log_failure

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_HOUR = 3600.0


class Outbox:
    """Sends the results of a queue's studies."""

    def __init__(
        self,
        queue: StudyQueue,
        folders: Folders,
        destination: Destination | None,
        section: DestinationSection,
        monitor: GatewayMonitor,
        *,
        dry_run: bool = False,
    ) -> None:
        """Takes the parts of an open state folder.

        Args:
          queue: The queue.
          folders: The state folder.
          destination: Where results go; None for nowhere.
          section: `[destination]` of the config: when attempts are made.
          monitor: Counters to update.
          dry_run: Whether to log what would be sent, and send nothing.
        """
        self._queue, self._folders, self._destination = queue, folders, destination
        self._section, self._monitor, self._dry_run = section, monitor, dry_run

    def step(self) -> float:
        """Sends the results of the next study; returns the time until there may be another.

        Raises:
          OSError: If the results cannot be listed.
          StateError: If the queue cannot be written.
        """
        study = self._queue.next_to_send()
        if study is None:
            return _IDLE_SECONDS
        folder = self._folders.results(study.number)
        files = self._folders.result_files(study.number) if folder.is_dir() else []
        if len(files) != study.objects:
            _LOG.warning("study %d: its results are gone; it is predicted again", study.number)
            self._queue.predict_again(study)
        elif self._destination is None or self._dry_run:
            self._list(study, files)
        else:
            self._send(study, files, self._destination)
        return 0.0

    def _send(self, study: Study, files: Sequence[Path], destination: Destination) -> None:
        # A destination that fails in an unforeseen way must not keep other studies waiting.
        try:
            destination.send(files)
        except SendFailed as failed:
            self._monitor.send_failures.labels(failed.reason).inc()
            self._postpone(study, failed.reason, failed.text, is_final=failed.is_final)
        except Exception as error:
            log_failure(f"study {study.number}: sending", error)
            self._monitor.send_failures.labels("INTERNAL").inc()
            self._postpone(study, "INTERNAL", f"{type(error).__name__}; the log says where.")
        else:
            if self._queue.finish(study, DONE, sent=len(files)):
                seconds = self._queue.clock() - study.last_image
                self._monitor.result_seconds.observe(seconds)
                self._monitor.ended.labels(DONE, "").inc()
                _LOG.info(
                    "study %d: %d results sent to %s, %.0f s after its last image",
                    *(study.number, len(files), destination.name, seconds),
                )

    def _postpone(self, study: Study, reason: str, text: str, *, is_final: bool = False) -> None:
        """Notes a failed attempt; ends the study if another cannot help, or the time is over."""
        section = self._section
        age = self._queue.clock() - (study.predicted or study.last_image)
        if is_final or age >= _HOUR * section.give_up_hours:
            attempts = study.attempts + 1
            why = f"{reason} at attempt {attempts}, the last: {text}"
            if self._queue.finish(study, FAILED, "NOT_SENT", why):
                self._monitor.ended.labels(FAILED, "NOT_SENT").inc()
                _LOG.error("study %d: failed, NOT_SENT: %s", study.number, why)
            return
        seconds = backoff(study.attempts, section.first_retry_seconds, section.max_retry_seconds)
        self._queue.postpone(study, seconds, reason, text)
        _LOG.warning(
            "study %d: not sent, %s: %s Next attempt in %.0f s.",
            *(study.number, reason, text, seconds),
        )

    def _list(self, study: Study, files: Sequence[Path]) -> None:
        """Ends a study whose results go nowhere, and says what they are."""
        counted = Counter(read_ids(path).modality for path in files)
        objects = ", ".join(f"{number} {modality}" for modality, number in sorted(counted.items()))
        if self._destination is None:
            text = f"no destination is set for {objects}."
        else:
            text = f"dry run: {objects} would be sent to {self._destination.name}."
        if self._queue.finish(study, DONE, text=text):
            self._monitor.ended.labels(DONE, "").inc()
            _LOG.info("study %d: %s", study.number, text)


def backoff(attempts: int, first_seconds: float, max_seconds: float) -> float:
    """Time to the next attempt: doubled at each one.

    Args:
      attempts: Number of attempts that failed before the last.
      first_seconds: Time after the first.
      max_seconds: Longest time.

    Examples:
      >>> [backoff(attempts, 10, 900) for attempts in (0, 1, 2, 1000)]
      [10.0, 20.0, 40.0, 900]
    """
    return min(max_seconds, first_seconds * 2.0 ** min(attempts, 60))
