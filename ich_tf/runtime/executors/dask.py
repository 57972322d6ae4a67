"""The Dask executor: an existing cluster whose workers share the file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle
from ich_tf.runtime.progress import track

_CONNECT_SECONDS = 10
_WORKERS_SECONDS = 60


class DaskExecutor:
    """Maps functions over items on a Dask cluster, which retries the tasks of workers that die."""

    def __init__(self, scheduler: str) -> None:
        """Makes an executor, which connects as its context is entered.

        Args:
          scheduler: Address of the scheduler, for example `tcp://host:8786`.

        Raises:
          InputError: If the package distributed is not installed.
        """
        try:
            import distributed
        except ImportError as error:
            raise InputError(
                "--runner=dask needs the package distributed; pip install 'ich_tf[dask]'."
            ) from error
        self._distributed: Any = distributed
        self._scheduler = scheduler
        self._client: Any = None

    def __enter__(self) -> DaskExecutor:
        """Connects to the scheduler.

        Raises:
          InputError: If the scheduler does not answer.
        """
        try:
            self._client = self._distributed.Client(self._scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {self._scheduler}. Start one (dask scheduler), and "
                "give its address as --dask_scheduler=tcp://HOST:8786."
            ) from error
        return self

    def __exit__(self, *error: object) -> None:
        # Closing the client cancels waiting tasks; the cluster itself keeps running.
        self._client.close()

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: str = "",
        on_death: Callable[[Item], Result] | None = None,
    ) -> Iterator[Result]:
        """As `Executor.map`.

        Raises:
          InputError: If the cluster has no workers, or lost the work.
        """
        results = self._results(function, items)
        return track(results, len(items), name) if name else results

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
        # With pure=True Dask would answer equal calls from its cache, and nothing would be written.
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
                "its scheduler stopped, or workers died repeatedly, for example for lack of "
                "memory. Finished work is kept: run the same command again."
            ) from error
