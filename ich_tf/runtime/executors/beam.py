"""The Beam executor: any runner of Apache Beam whose workers share the file system.

A pipeline returns nothing, so the results of each bundle are passed through a file.
"""

from __future__ import annotations

import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.executors.base import Item, Result, bundled, run_bundle
from ich_tf.runtime.files import temporary_path
from ich_tf.runtime.permissions import OWNER_ONLY_FOLDER
from ich_tf.runtime.scrubbing import scrubbed_text

# Runners do not report their number of workers; it only sets the size of the bundles.
_ASSUMED_WORKERS = 16


class BeamExecutor:
    """Maps functions over items, with one pipeline for each call of `map`."""

    def __init__(self, beam_args: Sequence[str], out_dir: Path) -> None:
        """Makes an executor; a pipeline starts with `map`.

        Args:
          beam_args: Flags of Beam, such as `--runner=DirectRunner` and those of the runner.
          out_dir: Folder that all workers can write, for the files of results.

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

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: str = "",
        on_death: Callable[[Item], Result] | None = None,
    ) -> Iterator[Result]:
        """As `Executor.map`; no result is yielded before the whole pipeline has finished."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        results = self._folder / uuid.uuid4().hex
        # What others could put there would be unpickled.
        self._folder.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        results.mkdir(mode=OWNER_ONLY_FOLDER)
        bundles = bundled(items, _ASSUMED_WORKERS)
        try:
            with beam.Pipeline(options=PipelineOptions(self._args)) as pipeline:
                (
                    pipeline
                    | beam.Create(list(enumerate(bundles)))
                    # Without Reshuffle a runner fuses all steps, and one worker does everything.
                    | beam.Reshuffle()
                    | beam.Map(_run_and_store, function=function, folder=results)
                )
        # Errors of runners have no common class.
        except Exception as error:
            raise InputError(
                f"the Beam pipeline failed ({scrubbed_text(error)}). Finished work is "
                "kept: run the same command again; --beam_args are Beam's own flags."
            ) from error
        for number in range(len(bundles)):
            yield from pickle.loads((results / str(number)).read_bytes())


def _run_and_store(
    bundle: tuple[int, Sequence[Item]], function: Callable[[Item], Result], folder: Path
) -> None:
    """Runs a bundle and writes its results to a file; Beam may call it twice for a bundle."""
    number, items = bundle
    path = folder / str(number)
    temporary = temporary_path(path)
    temporary.write_bytes(pickle.dumps(run_bundle(items, function)))
    temporary.replace(path)
