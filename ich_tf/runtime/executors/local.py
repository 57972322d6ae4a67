"""The local executor: worker processes on this machine, one per core."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle, start_worker
from ich_tf.runtime.progress import track

_BUNDLES_AHEAD = 4


class LocalExecutor:
    """Maps functions over items in worker processes.

    Workers are spawned, never forked: the caller may have loaded TensorFlow, whose threads do not
    survive a fork. The workers do not load TensorFlow.

    Attributes:
      num_workers: Number of worker processes; 1: this process does the work.
    """

    def __init__(self, num_workers: int = 0) -> None:
        """Makes an executor; processes start with the first call of `map`.

        Args:
          num_workers: Number of worker processes; 0: one per core; 1: no other process.
        """
        self.num_workers = num_workers or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            # After an error the remaining queue is dropped.
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], name: str = ""
    ) -> Iterator[Result]:
        """As `Executor.map`; results are yielded while the work goes on.

        Raises:
          InputError: If a worker died.
        """
        if self.num_workers == 1:
            start_worker()
            yield from _tracked(map(function, items), len(items), name)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.num_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=start_worker,
            )
        try:
            results = self._map_bundles(self._pool, function, items)
            yield from _tracked(results, len(items), name)
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died: it ran out of memory, was killed, or a decoder crashed. "
                "Finished work is kept: run the same command again, with --num_workers=1 to see at "
                "which file it happens."
            ) from error

    def _map_bundles(
        self, pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        # Few bundles ahead: results that are not consumed yet occupy memory.
        waiting: deque[Future[list[Result]]] = deque()
        for bundle in bundled(items, self.num_workers):
            waiting.append(pool.submit(run_bundle, bundle, function))
            if len(waiting) > _BUNDLES_AHEAD * self.num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _tracked(results: Iterator[Result], total: int, name: str) -> Iterator[Result]:
    return track(results, total, name) if name else results
