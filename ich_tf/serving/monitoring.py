"""Counters for Prometheus, and log lines that hold no name, id or address."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_LOG = logging.getLogger(__name__)
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class RequestMonitor:
    """Counters of the answers of an HTTP server, all at 0 at first."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "ich_tf_requests", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "ich_tf_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts and logs an answer.

        Args:
          method: HTTP method.
          route: Template of the path, such as `/api/studies/{study_id}`: a path would hold the
            study's key.
          status: HTTP status of the answer.
          seconds: Time from request to answer.
        """
        self.count(method, route, status, seconds)
        _LOG.info("%s %s %d %.3f s", method, route, status, seconds)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer, as `answered` does, and logs nothing."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Writes all counters in Prometheus' text format."""
        return generate_latest(self.registry)


class Monitor(RequestMonitor):
    """Counters of one server, all at 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.studies = Counter(
            "ich_tf_studies", "Studies by how they ended.", ["outcome"], registry=registry
        )
        self.slices = Counter("ich_tf_slices", "Slices predicted.", registry=registry)
        self.rejected = Counter(
            "ich_tf_rejected_files", "Files without a slice.", ["reason"], registry=registry
        )
        self.queue_seconds = Histogram(
            "ich_tf_queue_seconds", "Wait of a study until it is read.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.reading_seconds = Histogram(
            "ich_tf_reading_seconds", "Decoding a study.", buckets=_SECONDS, registry=registry
        )
        self.model_seconds = Histogram(
            "ich_tf_model_seconds", "Predicting a study.", buckets=_SECONDS, registry=registry
        )
        self.heat_map_seconds = Histogram(
            "ich_tf_heat_map_seconds", "A heat map that was not in the cache.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.receiving = Gauge(
            "ich_tf_uploads_under_way", "Uploads that are received.", registry=registry
        )
        self.unfinished = Gauge(
            "ich_tf_studies_unfinished", "Studies that wait or are worked on.", registry=registry
        )
        self.threads = Gauge(
            "ich_tf_thread_running", "1 if a thread runs, else 0.", ["thread"], registry=registry
        )
        self.disk_free = Gauge(
            "ich_tf_disk_free_bytes", "Free space of the disk of --state_dir.", registry=registry
        )
        self.kept = Gauge(
            "ich_tf_studies_kept_bytes", "Size of the finished studies.", registry=registry
        )
        self.model = Info("ich_tf_model", "The model that predicts.", registry=registry)
        self.finished = Gauge("ich_tf_studies_kept", "Finished studies kept.", registry=registry)


def log_failure(subject: str, error: BaseException) -> None:
    """Logs the type and the place of an error, but not its text, which may quote a file."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-4:]]
    _LOG.error("%s failed: %s at %s", subject, type(error).__name__, " > ".join(places) or "?")
