"""Trackers: a user's own function that follows a run, for MLflow, Weights & Biases and others.

The function that `--tracker` names is called when all that is refused has been, with the settings
of the run: its config, `run_id`, which stays the same when a run continues, and `epochs_done`. It
returns an object with two methods:

    epoch(row)  after each epoch, with its row of history.csv: numbers by column
    end(error)  at the end: None, or the error that ended the run, in a line of text

An error of a tracker never ends a training. The first is a warning, and later calls are made all
the same, since a server may be back by then; at the end a line counts those that failed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ich_tf.models.run_json import read_run
from ich_tf.runtime.debugging import log_traceback
from ich_tf.runtime.plugins import load_function
from ich_tf.training.config import TrainConfig

_LOG = logging.getLogger(__name__)
# Settings of a run -> tracker.
MakeTracker = Callable[[dict[str, Any]], Any]
TrackEpoch = Callable[[Mapping[str, float]], None]


def load_tracker(config: TrainConfig) -> MakeTracker | None:
    """Imports the function that `--tracker` names; None without one.

    Raises:
      UsageError: If it cannot be imported.
    """
    return load_function(config.tracker, "tracker") if config.tracker else None


@contextmanager
def tracking(
    make: MakeTracker | None, config: TrainConfig, epochs_done: int
) -> Iterator[TrackEpoch]:
    """Context of a run that a tracker follows.

    Args:
      make: Function from settings to a tracker; None tracks nothing.
      config: Config of the run, whose work dir holds `run.json`.
      epochs_done: Number of epochs that are finished already.

    Yields:
      Function to call with the row of each further epoch.
    """
    if make is None:
        yield lambda row: None
        return
    run_id = read_run(config.work_dir).get("id", "")
    settings = {**dataclasses.asdict(config), "run_id": run_id, "epochs_done": epochs_done}
    tracker = _Tracker(make, settings, f"--tracker={config.tracker}")
    try:
        yield tracker.epoch
    except BaseException as error:
        tracker.end(f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise
    tracker.end(None)


class _Tracker:
    """A user's tracker, whose errors are warnings. It is made at once, or later if that fails."""

    def __init__(self, make: MakeTracker, settings: dict[str, Any], name: str) -> None:
        self._make, self._settings, self._name = make, settings, name
        self._tracker: Any = None
        self._calls = self._failed = 0
        self._call(lambda: None)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Passes an epoch's row on."""
        self._call(lambda: self._tracker.epoch(dict(row)))

    def end(self, error: str | None) -> None:
        """Tells of the end, and counts the calls that failed."""
        self._call(lambda: self._tracker.end(error))
        if self._failed:
            _LOG.warning("%s: %d of %d calls failed", self._name, self._failed, self._calls)

    def _call(self, call: Callable[[], object]) -> None:
        self._calls += 1
        try:
            if self._tracker is None:
                self._tracker = self._make(self._settings)
            call()
        # A library that gives up may exit.
        except (Exception, SystemExit) as error:
            self._failed += 1
            if self._failed == 1:
                _LOG.warning(
                    "%s: %s: %s. The training goes on without it; it is called again after each "
                    "epoch. --debug shows the traceback.",
                    *(self._name, type(error).__name__, " ".join(str(error).split())),
                )
            log_traceback(error)
