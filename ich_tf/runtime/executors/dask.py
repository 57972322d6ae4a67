"""The Dask executor: an existing cluster, whose workers see the same files as we do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle
from ich_tf.runtime.progress import track

_CONNECT_SECONDS = 10
_WORKERS_SECONDS = 60


class DaskExecutor:
    """Maps functions over items on a Dask cluster; a worker that dies costs its task a retry."""

    def __init__(self, scheduler: str) -> None:
        """Connects.

        Args:
          scheduler: The scheduler's address, `tcp://host:8786`.

        Raises:
          InputError: If it does not answer, or has no workers.
        """
        try:
            import distributed
        except ImportError as error:
            raise InputError(
                "--runner=dask needs the package distributed; pip install 'ich_tf[dask]'."
            ) from error
        self._distributed: Any = distributed
        self._scheduler = scheduler
        try:
            self._client: Any = distributed.Client(scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {scheduler}. Start one (dask scheduler), and give "
                "its address as --dask_scheduler=tcp://HOST:8786."
            ) from error

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing drops what was not worked off; the cluster is not ours to stop.
        self._client.close()

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], name: str = ""
    ) -> Iterator[Result]:
        """As `Executor.map`."""
        found = self._results(function, items)
        return track(found, len(items), name) if name else found

    def _results(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        client = self._client
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise InputError(
                f"the Dask scheduler at {self._scheduler} has no workers. Start some: "
                f"dask worker {self._scheduler} --nthreads 1."
            ) from error
        threads = sum(client.nthreads().values())
        # pure: Dask would answer equal calls from its memory, and write nothing.
        futures = client.map(run_bundle, bundled(items, threads), function=function, pure=False)
        try:
            while futures:
                yield from futures.pop(0).result()
        except (
            CancelledError,
            self._distributed.KilledWorker,
            self._distributed.comm.CommClosedError,
        ) as error:
            raise InputError(
                f"the Dask cluster at {self._scheduler} lost the work ({type(error).__name__}): "
                "its scheduler went away, or workers died again and again, as they do without "
                "memory. What was finished is kept: run the same command again."
            ) from error
