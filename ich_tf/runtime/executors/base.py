"""What an executor is: it maps functions over items somewhere, and keeps their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs the work of a conversion: spawned processes, a Dask cluster, a Beam pipeline."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], name: str = ""
    ) -> Iterator[Result]:
        """The results of `function`, in the order of `items`.

        Args:
          function: A module's function; it runs in a worker, and may run twice.
          items: Picklable.
          name: Of the work, for its progress; empty shows none.

        Raises:
          InputError: If the work cannot be finished.
        """


def bundle_size(num_items: int, num_workers: int) -> int:
    """Items to send to a worker at once: few (shards) go one by one, many (files) together."""
    return max(1, min(64, num_items // (num_workers * 8)))


def bundled(items: Sequence[Item], num_workers: int) -> list[Sequence[Item]]:
    """The items in bundles, in order."""
    size = bundle_size(len(items), num_workers)
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_bundle(items: Sequence[Item], function: Callable[[Item], Result]) -> list[Result]:
    """What a worker does with a bundle."""
    start_worker()
    return [function(item) for item in items]


def start_worker() -> None:
    """Readies a process for work: there is one a core, where OpenCV's threads would only fight."""
    cv2.setNumThreads(1)
