"""A thread that does one step after the other, and outlives whatever a step raises."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ich_tf.gateway.database import StateError
from ich_tf.serving.monitoring import log_failure

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


class MachineError(Exception):
    """A step that this machine cannot do at present, for a reason in words; it is tried again."""


class Loop:
    """A thread of steps; a `ports.Service`.

    Attributes:
      name: Name for logs, health and metrics.
      pause_seconds: Time until the next step after one that failed.
      is_closed: Whether it is to end.
    """

    def __init__(
        self, name: str, step: Callable[[], float], *, pause_seconds: float = _PAUSE_SECONDS
    ) -> None:
        """Stores what to do; `start` starts the thread.

        Args:
          name: Name for logs, health and metrics.
          step: Function that does the next piece of work, and returns the time until there may be
            more, seconds; 0 if there may be more at once.
          pause_seconds: Time until the next step after one that failed.
        """
        self.name = name
        self._step, self.pause_seconds = step, pause_seconds
        self._problem = ""
        self.is_closed = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Lets the next step begin at once."""
        self._awake.set()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def problem(self) -> str:
        """Says why the last step failed, or that the thread has ended; empty if neither."""
        if not self.is_alive:
            return "its thread does not run"
        return self._problem

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Ends the thread after its step, or leaves it to the end of the process."""
        self.is_closed = True
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self.is_closed:
            self._awake.clear()
            seconds = -1.0
            # Whatever a step raises: a thread that ends would let studies lie.
            try:
                seconds = self._step()
                self._say("")
            except (MachineError, StateError) as error:
                self._say(str(error))
            except OSError as error:
                self._say(f"the operating system says: {error.strerror or type(error).__name__}")
            except Exception as error:
                log_failure(self.name, error)
                self._say(f"an error that nobody foresaw ({type(error).__name__})")
            if seconds < 0:  # the step may have changed it
                seconds = self.pause_seconds
            if seconds > 0:
                self._awake.wait(seconds)

    def _say(self, problem: str) -> None:
        """Logs a problem once, and its end."""
        if problem != self._problem and not self.is_closed:
            if problem:
                _LOG.error("%s: %s", self.name, problem)
            else:
                _LOG.info("%s: works again", self.name)
        self._problem = problem
