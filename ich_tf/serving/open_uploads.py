"""Uploads under way: how many at a time, and those in several parts between two of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ich_tf.serving.errors import Refused
from ich_tf.serving.studies import Studies
from ich_tf.serving.study import UploadedStudy
from ich_tf.serving.uploads import Upload


class UploadSlots:
    """Number of requests whose files are received at the same time.

    Attributes:
      num_taken: Number of those that are.
    """

    def __init__(self, limit: int) -> None:
        """Stores the limit."""
        self._limit = limit
        self._lock = threading.Lock()
        self.num_taken = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Holds a slot as long as the block runs.

        Raises:
          Refused: 503, if there is none.
        """
        with self._lock:
            if self.num_taken >= self._limit:
                raise Refused(
                    503,
                    "BUSY",
                    f"{self._limit} uploads are under way. Send it again in a few seconds.",
                    retry_after=2,
                )
            self.num_taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.num_taken -= 1


@dataclass(frozen=True, eq=False)
class OpenUpload:
    """An upload that more parts follow.

    Attributes:
      study: Study that the upload will be.
      upload: What has come of it.
      since: Time at which the last part ended, as `time.monotonic` gives it.
    """

    study: UploadedStudy
    upload: Upload
    since: float = field(default_factory=time.monotonic)


class OpenUploads:
    """All uploads that wait for their next part.

    One that waits keeps no other out: of too many the one that waits the longest is dropped.
    """

    def __init__(self, studies: Studies, limit: int, seconds: float) -> None:
        """Stores its arguments.

        Args:
          studies: Studies of the server.
          limit: Maximum number of uploads that wait.
          seconds: Time after which an upload without a new part is dropped.
        """
        self._studies, self._limit, self._seconds = studies, limit, seconds
        self._waiting: dict[str, OpenUpload] = {}
        self._lock = threading.Lock()

    def put(self, study: UploadedStudy, upload: Upload) -> None:
        """Lets an upload wait for its next part."""
        dropped = None
        with self._lock:
            self._waiting[study.study_id] = OpenUpload(study, upload)
            if len(self._waiting) > self._limit:
                # In the order in which they were put.
                dropped = self._waiting.pop(next(iter(self._waiting)))
        if dropped is not None:
            self._studies.drop(dropped.study)

    def take(self, study_id: str) -> OpenUpload:
        """Takes an upload whose next part comes.

        Raises:
          Refused: 404, if there is no such study; 409, if it is complete, or a part of it is being
            received.
        """
        self._studies.find(study_id)
        with self._lock:
            waiting = self._waiting.pop(study_id, None)
        if waiting is None:
            raise Refused(
                409,
                "NOT_RECEIVING",
                "the study takes no more files: it is complete, or another request sends some.",
            )
        return waiting

    def sweep(self) -> None:
        """Drops uploads whose next part did not come, and those whose study was deleted."""
        end = time.monotonic() - self._seconds
        with self._lock:
            ended = [
                waiting
                for waiting in self._waiting.values()
                if waiting.since < end or waiting.study.is_cancelled
            ]
            for waiting in ended:
                del self._waiting[waiting.study.study_id]
        for waiting in ended:
            self._studies.drop(waiting.study)
