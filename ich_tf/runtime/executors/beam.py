"""The Beam executor: any runner of Apache Beam, whose workers see the same files as we do.

A pipeline gives nothing back, so each bundle's results pass through a file beside the shards.
"""

from __future__ import annotations

import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle
from ich_tf.runtime.files import temporary_path

# How many workers a runner has, it does not say: bundles for a good number of them.
_ASSUMED_WORKERS = 16


class BeamExecutor:
    """Maps functions over items, a pipeline a map."""

    def __init__(self, beam_args: Sequence[str], out_dir: Path) -> None:
        """Starts no pipeline until there is work.

        Args:
          beam_args: Beam's own flags: `--runner=DirectRunner`, and what the runner wants.
          out_dir: A folder that all workers see.

        Raises:
          InputError: If Beam is not installed.
        """
        try:
            import apache_beam  # noqa: F401
        except ImportError as error:
            raise InputError(
                "--runner=beam needs the package apache-beam; pip install 'ich_tf[beam]'."
            ) from error
        self._args = list(beam_args)
        self._folder = temporary_path(out_dir / "beam")

    def __enter__(self) -> BeamExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], name: str = ""
    ) -> Iterator[Result]:
        """As `Executor.map`; the first result comes when the last is there."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        results = self._folder / uuid.uuid4().hex
        results.mkdir(parents=True)
        bundles = bundled(items, _ASSUMED_WORKERS)
        try:
            with beam.Pipeline(options=PipelineOptions(self._args)) as pipeline:
                (
                    pipeline
                    | beam.Create(list(enumerate(bundles)))
                    # Without it a runner fuses all steps, and one worker does everything.
                    | beam.Reshuffle()
                    | beam.Map(_run_and_store, function=function, folder=results)
                )
        # Whatever a runner raises: its errors have no common class.
        except Exception as error:
            raise InputError(
                f"the Beam pipeline failed ({type(error).__name__}: {error}). What was finished is "
                "kept: run the same command again; --beam_args are Beam's own flags."
            ) from error
        for number in range(len(bundles)):
            yield from pickle.loads((results / str(number)).read_bytes())


def _run_and_store(
    bundle: tuple[int, Sequence[Item]], function: Callable[[Item], Result], folder: Path
) -> None:
    """Runs a bundle, and leaves its results in a file; runs twice where Beam sees fit."""
    number, items = bundle
    path = folder / str(number)
    temporary = temporary_path(path)
    temporary.write_bytes(pickle.dumps(run_bundle(items, function)))
    temporary.replace(path)
