"""Good studies on their way through the gateway: each has to arrive, and be found the same."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.soaking.archive import Destination
from tools.soaking.services import Service
from tools.soaking.studies import study_uid
from tools.soaking.tally import Tally

_KIND = "gateway: delivery"
_EVERY_SECONDS = 3.0
# Without a study that ends for this long, the rest is lost.
_GIVE_UP_SECONDS = 300.0
_NO_RESULTS = "PREDICTION"
_UNDER_WAY = ("receiving", "waiting", "predicting", "sending")


@dataclass(frozen=True)
class _Sent:
    """A study that was acknowledged."""

    phantom: int
    images: int


class Deliveries:
    """All studies that the gateway has acknowledged, until they are in the archive.

    Attributes:
      arrived: Number of those that are.
    """

    def __init__(self, service: Service, archive: Destination, tally: Tally) -> None:
        """Stores its arguments; `start` starts to look.

        Args:
          service: The gateway.
          archive: Where results go.
          tally: Counts of what arrived, and what went wrong.
        """
        self._service, self._archive, self._tally = service, archive, tally
        self._waiting: dict[str, _Sent] = {}
        self._findings: dict[int, dict[str, float]] = {}
        self._failed: set[int] = set()
        self._lock = threading.Lock()
        # Held while the archive is down or asked.
        self.archive_lock = threading.Lock()
        self.arrived = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deliveries", daemon=True)

    def start(self) -> None:
        """Starts to look at the worklist and the archive every few seconds."""
        self._thread.start()

    def end(self) -> None:
        """Ends that."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, key: str, phantom: int, images: int) -> None:
        """Adds a study of which all images were acknowledged.

        Args:
          key: Text that its ids follow from.
          phantom: Number of its phantom.
          images: Number of its images.
        """
        with self._lock:
            self._waiting[study_uid(key)] = _Sent(phantom, images)

    @property
    def num_waiting(self) -> int:
        """Number of studies that have not arrived."""
        with self._lock:
            return len(self._waiting)

    def drain(self) -> None:
        """Waits until all have arrived and the queue is empty; what does not come is a failure."""
        last, since = -1, time.monotonic()
        while True:
            counts = self._worklist()["counts"]
            left = sum(counts.get(state, 0) for state in _UNDER_WAY)
            if not left and not self.num_waiting:
                return
            if left + self.num_waiting != last:
                last, since = left + self.num_waiting, time.monotonic()
            if time.monotonic() - since > _GIVE_UP_SECONDS:
                self._tally.fail(
                    _KIND,
                    f"{self.num_waiting} studies did not arrive, and {left} are in the queue, "
                    f"{_GIVE_UP_SECONDS:g} s after the last one: {counts}",
                )
                return
            time.sleep(1.0)

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            self._look_safely()

    def _look_safely(self) -> None:
        # Whatever an answer holds: the next one is asked for.
        try:
            self._look()
        except Exception as error:
            self._tally.fail(_KIND, f"{type(error).__name__}: {error}")

    def _worklist(self) -> dict[str, Any]:
        with self._service.client() as client:
            answer = client.get("/api/worklist")
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

    def _look(self) -> None:
        for row in self._worklist()["studies"]:
            uid = row["study_uid"]
            with self._lock:
                sent = self._waiting.get(uid)
            # A damaged image may be read, and be no base for results, which need its UIDs.
            is_known = row["study"] in self._failed or (
                sent is None and row["reason"] == _NO_RESULTS
            )
            if row["state"] == "failed" and not is_known:
                self._failed.add(row["study"])
                self._tally.fail(_KIND, f"a study failed, {row['reason']}: {row['text']}")
            elif sent is None or row["state"] in (*_UNDER_WAY, "failed"):
                continue
            else:
                self._tally_arrival(row, sent)
            with self._lock:
                self._waiting.pop(uid, None)

    def _tally_arrival(self, row: dict[str, Any], sent: _Sent) -> None:
        problem = self._problem(row, sent)
        if problem:
            self._tally.fail(_KIND, f"phantom {sent.phantom}: {problem}")
        else:
            self.arrived += 1
            self._tally.add(_KIND, "arrived")

    def _problem(self, row: dict[str, Any], sent: _Sent) -> str:
        """What is wrong with a study that has ended; empty if nothing is."""
        if row["state"] != "done":
            return f"{row['state']}, {row['reason']}: {row['text']}"
        if row["images"] != sent.images or row["late"]:
            return f"{row['images']} images and {row['late']} late ones of {sent.images}"
        first = self._findings.setdefault(sent.phantom, row["findings"])
        now = row["findings"]
        if not all(np.isclose(now[name], first[name], rtol=1e-4, atol=1e-5) for name in first):
            return f"found {now}, and {first} at first"
        with self.archive_lock:
            kinds = self._archive.modalities(row["study_uid"])
            self._archive.forget(row["study_uid"])
        if sum(kinds.values()) != row["results"] or row["sent"] != row["results"]:
            return f"{row['results']} results, {row['sent']} sent, the archive has {dict(kinds)}"
        if kinds["SR"] != 1 or kinds["KO"] != 1:
            return f"the archive has {dict(kinds)}"
        return ""
