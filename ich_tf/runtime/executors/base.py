"""Interface of executors, which map functions over items and keep the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Maps functions over items, by spawned processes, a Dask cluster or a Beam pipeline."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None: ...

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: str = "",
        on_death: Callable[[Item], Result] | None = None,
    ) -> Iterator[Result]:
        """Yields the results of `function` in the order of `items`.

        Args:
          function: Function of a module, so that workers can import it. It may run twice for an
            item.
          items: Arguments of `function`, which must be picklable.
          name: Name of the work in the progress display; empty: no display.
          on_death: Function of a module that a worker calls instead for an item that ended its
            worker again; an executor that leaves deaths to its cluster ignores it. None: the work
            cannot be finished then.

        Raises:
          InputError: If the work cannot be finished.
        """


def bundle_size(num_items: int, num_workers: int) -> int:
    """Number of items to send to a worker at once, 1 to 64: large only where there are many."""
    return max(1, min(64, num_items // (num_workers * 8)))


def bundled(items: Sequence[Item], num_workers: int) -> list[Sequence[Item]]:
    """Splits items into bundles, in order."""
    size = bundle_size(len(items), num_workers)
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_bundle(items: Sequence[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Applies a function to a bundle, in a worker."""
    start_worker()
    return [function(item) for item in items]


def start_worker() -> None:
    """Prepares a worker process: OpenCV uses one thread, since every core has a worker."""
    cv2.setNumThreads(1)
