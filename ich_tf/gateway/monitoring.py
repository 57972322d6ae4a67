"""Counters of a gateway for Prometheus; no name, id or date of a patient."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from ich_tf.gateway.states import STATES
from ich_tf.serving.monitoring import RequestMonitor

_SECONDS = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)


class GatewayMonitor(RequestMonitor):
    """Counters of one gateway, all at 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self._received = Counter(
            "ich_tf_gateway_objects",
            "Objects taken. stored: an image of a study; known: it was here; late: its study was "
            "handled; own: a result of this gateway; ignored: no CT image.",
            ["source", "outcome"],
            registry=registry,
        )
        self._refused = Counter(
            "ich_tf_gateway_refused", "Objects refused.", ["source", "reason"], registry=registry
        )
        self.ended = Counter(
            "ich_tf_gateway_studies_ended",
            "Studies by how they ended, with the reason of a failure.",
            ["state", "reason"],
            registry=registry,
        )
        self.send_failures = Counter(
            "ich_tf_gateway_send_failures", "Attempts to send.", ["reason"], registry=registry
        )
        self.prediction_seconds = Histogram(
            "ich_tf_gateway_prediction_seconds",
            "Prediction of a study.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.result_seconds = Histogram(
            "ich_tf_gateway_result_seconds",
            "From the last image of a study to its results at the destination.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.studies = Gauge(
            "ich_tf_gateway_studies", "Studies in each state.", ["state"], registry=registry
        )
        self.queue_age = Gauge(
            "ich_tf_gateway_queue_age_seconds",
            "Age of the last image of the study that waits longest for its results; 0 without one.",
            registry=registry,
        )
        self.free_bytes = Gauge(
            "ich_tf_gateway_free_bytes", "Free space of the state folder's disk.", registry=registry
        )
        self.services = Gauge(
            "ich_tf_gateway_service_up",
            "1 while a part of the gateway works.",
            ["service"],
            registry=registry,
        )
        for state in STATES:
            self.studies.labels(state)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer, and logs it unless a page or a probe asked, as often as they do."""
        if method in ("GET", "HEAD") and status < 400:
            self.count(method, route, status, seconds)
        else:
            super().answered(method, route, status, seconds)

    def received(self, source: str, outcome: str) -> None:
        """Counts an object that was taken.

        Args:
          source: Way by which it came: `dimse`, `stow` or `poll`.
          outcome: What became of it.
        """
        self._received.labels(source, outcome).inc()

    def refused(self, source: str, reason: str) -> None:
        """Counts an object that was not taken; `reason` is one of `ports.REFUSALS`."""
        self._refused.labels(source, reason).inc()
