"""The local executor: spawned processes on this machine, one per core."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle, start_worker
from ich_tf.runtime.progress import track

_BUNDLES_AHEAD = 4


class LocalExecutor:
    """Maps functions over items in worker processes.

    Workers are spawned, never forked: the caller may have loaded TensorFlow, whose threads a
    fork would copy half-alive. The workers themselves never load it.
    """

    def __init__(self, num_workers: int = 0) -> None:
        """Starts no process until there is work.

        Args:
          num_workers: Processes; 0 means one per core. With one, the work is done here.
        """
        self.num_workers = num_workers or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            # After an error the rest of the queue is dropped, not worked off.
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], name: str = ""
    ) -> Iterator[Result]:
        """As `Executor.map`; results come as they are done.

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
            found = self._map_bundles(self._pool, function, items)
            yield from _tracked(found, len(items), name)
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died: it ran out of memory, was killed, or a decoder crashed. "
                "What was finished is kept: run the same command again, with --num_workers=1 to "
                "see which file it is."
            ) from error

    def _map_bundles(
        self, pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        # A few bundles ahead, no more: results that nobody takes yet would pile up.
        waiting: deque[Future[list[Result]]] = deque()
        for bundle in bundled(items, self.num_workers):
            waiting.append(pool.submit(run_bundle, bundle, function))
            if len(waiting) > _BUNDLES_AHEAD * self.num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _tracked(found: Iterator[Result], total: int, name: str) -> Iterator[Result]:
    return track(found, total, name) if name else found
