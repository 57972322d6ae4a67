"""The local executor: worker processes on this machine, one per core."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, start_worker
from ich_tf.runtime.executors.worker import Worker, WorkerDied, message_of
from ich_tf.runtime.progress import track

_BUNDLES_AHEAD = 4


class LocalExecutor:
    """Maps functions over items in worker processes.

    Workers are spawned, never forked: the caller may have loaded TensorFlow, whose threads do not
    survive a fork. The workers do not load TensorFlow. They end with this process, however it ends.

    Attributes:
      num_workers: Number of worker processes; 1: this process does the work.
    """

    def __init__(self, num_workers: int = 0) -> None:
        """Makes an executor; processes start with the first call of `map`.

        Args:
          num_workers: Number of worker processes; 0: one per core; 1: no other process.
        """
        self.num_workers = num_workers or os.cpu_count() or 1
        self._workers: _Workers | None = None

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        if self._workers is not None:
            # After an error the remaining work is dropped, and what is under way is cut off.
            self._workers.close()
            self._workers = None

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: str = "",
        on_death: Callable[[Item], Result] | None = None,
    ) -> Iterator[Result]:
        """As `Executor.map`; results are yielded while the work goes on.

        A worker that dies is replaced, and its items are worked on again, one at a time.

        Raises:
          InputError: If an item ends its worker again and `on_death` is None, or ends its worker,
            too.
        """
        if self.num_workers == 1:
            start_worker()
            yield from _tracked(map(function, items), len(items), name)
            return
        if self._workers is None:
            self._workers = _Workers(self.num_workers)
        try:
            results = self._map_bundles(self._workers, function, items, on_death)
            yield from _tracked(results, len(items), name)
        except WorkerDied as error:
            raise InputError(
                f"a worker process died more than once at the same work (code {error.code}): it "
                "ran out of memory, was killed, or a library crashed. Finished work is kept: run "
                "the same command again, with --num_workers=1 to see at which file it happens."
            ) from error

    def _map_bundles(
        self,
        workers: _Workers,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        on_death: Callable[[Item], Result] | None,
    ) -> Iterator[Result]:
        # Few bundles ahead: results that are not consumed yet occupy memory.
        waiting: deque[Future[list[Result]]] = deque()
        for bundle in bundled(items, self.num_workers):
            waiting.append(
                workers.submit(_Bundle(function, bundle, on_death, message_of(function, bundle)))
            )
            if len(waiting) > _BUNDLES_AHEAD * self.num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@dataclass(eq=False)
class _Bundle:
    """Work of one message.

    Attributes:
      function: Function of a module.
      items: Its arguments.
      on_death: Function that replaces it for an item that ended its worker twice.
      message: The work, for a worker.
      results: Where its results are awaited.
    """

    function: Callable[[Any], Any]
    items: Sequence[Any]
    on_death: Callable[[Any], Any] | None
    message: bytes
    results: Future[list[Any]] = field(default_factory=Future)


class _Workers:
    """Worker processes, each served by a thread that knows what the process works on."""

    def __init__(self, count: int) -> None:
        self._workers = [Worker() for _ in range(count)]
        self._queue: queue.SimpleQueue[_Bundle | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, bundle: _Bundle) -> Future[list[Any]]:
        self._queue.put(bundle)
        return bundle.results

    def close(self) -> None:
        """Ends all processes, and forgets their work."""
        for worker in self._workers:
            worker.end()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()

    def _serve(self, worker: Worker) -> None:
        """Hands bundles to a worker until the queue ends."""
        sent: deque[_Bundle] = deque()
        while self._hand_over(worker, sent):
            bundle = sent.popleft()
            try:
                results = self._results(worker, bundle, sent)
            # What a bundle raises is raised where its results are awaited.
            except Exception as error:
                bundle.results.set_exception(error)
            else:
                bundle.results.set_result(results)

    def _hand_over(self, worker: Worker, sent: deque[_Bundle]) -> bool:
        """Sends a bundle, and a second one ahead where every worker has enough.

        Args:
          worker: The worker.
          sent: Bundles that it has not answered yet.

        Returns:
          Whether there is a bundle to wait for.
        """
        while not sent or (len(sent) == 1 and self._queue.qsize() >= len(self._workers)):
            try:
                bundle = self._queue.get(block=not sent)
            except queue.Empty:
                break
            if bundle is None:
                return False
            try:
                worker.send(bundle.message)
            except WorkerDied:
                pass  # the executor is closed, as `receive` will report
            except (OSError, RuntimeError) as error:  # no process can be started
                bundle.results.set_exception(error)
                continue
            sent.append(bundle)
        return True

    @staticmethod
    def _results(worker: Worker, bundle: _Bundle, others: deque[_Bundle]) -> list[Any]:
        """Waits for the results of a bundle.

        Args:
          worker: Worker of the bundle.
          bundle: The bundle.
          others: Bundles that were sent after it, which a death loses as well.

        Raises:
          WorkerDied: If an item ended its worker twice, and `on_death` is None or ended it, too.
        """
        try:
            return worker.receive()
        except WorkerDied:
            pass
        results = [_alone(worker, bundle, item) for item in bundle.items]
        for other in others:
            worker.send(other.message)
        return results


def _alone(worker: Worker, bundle: _Bundle, item: Any) -> Any:
    """Result of one item, which may be the one that ended the worker of its bundle."""
    try:
        worker.send(message_of(bundle.function, [item]))
        return worker.receive()[0]
    except WorkerDied:
        if bundle.on_death is None:
            raise
    worker.send(message_of(bundle.on_death, [item]))
    return worker.receive()[0]


def _tracked(results: Iterator[Result], total: int, name: str) -> Iterator[Result]:
    return track(results, total, name) if name else results
