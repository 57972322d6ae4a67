"""The thread that owns the model: one function at a time, those that a person waits for first."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ich_tf.serving.errors import Refused
from ich_tf.serving.supervised_thread import SupervisedThread

Result = TypeVar("Result")
_URGENT, _LATER, _END = 0, 1, 2


class ModelThread:
    """A thread that runs functions one after the other, urgent ones first."""

    def __init__(self, max_urgent: int) -> None:
        """Stores the limit; `start` starts the thread.

        Args:
          max_urgent: Maximum number of urgent functions that wait.
        """
        self._max_urgent = max_urgent
        self._number = itertools.count()
        self._waiting: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = (
            queue.PriorityQueue()
        )
        self._urgent = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = SupervisedThread("model", self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive

    def later(self, function: Callable[[], Result]) -> Future[Result]:
        """Puts a function behind all that wait; urgent ones overtake it."""
        return self._put(_LATER, function)

    def urgent(self, function: Callable[[], Result]) -> Future[Result]:
        """Puts a function before all that are not urgent.

        Raises:
          Refused: 503, if too many urgent functions wait already.
        """
        with self._lock:
            if self._urgent >= self._max_urgent:
                raise Refused(
                    503,
                    "BUSY",
                    f"{self._max_urgent} heat maps wait already. Ask again in a second.",
                    retry_after=1,
                )
            self._urgent += 1

        future = self._put(_URGENT, function)
        future.add_done_callback(self._count_down)
        return future

    def run_urgent(self) -> None:
        """Runs the urgent functions that wait; called by long functions on the thread itself."""
        while True:
            try:
                rank, number, function = self._waiting.get_nowait()
            except queue.Empty:
                return
            if rank != _URGENT:
                self._waiting.put((rank, number, function))
                return
            function()

    def close(self) -> None:
        """Ends the thread after the function that it runs; those that wait are cancelled."""
        self._is_closed = True
        self._waiting.put((_END, next(self._number), lambda: None))
        self._thread.join()

    def _count_down(self, _: object) -> None:
        with self._lock:
            self._urgent -= 1

    def _put(self, rank: int, function: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()

        def run() -> None:
            if self._is_closed:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            # Whatever the function raises is raised by `Future.result`.
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._waiting.put((rank, next(self._number), run))
        return future

    def _run(self) -> None:
        while True:
            rank, _, function = self._waiting.get()
            function()
            if rank == _END:
                return
