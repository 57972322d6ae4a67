"""A thread that a failure does not end: it is logged, and the thread's function starts again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ich_tf.serving.monitoring import log_failure

# Pause after a failure: one that repeats fills no log.
_PAUSE_SECONDS = 0.5


class SupervisedThread:
    """A thread that runs a function until that returns.

    The function takes work from a queue, so that what is left of it is done after a failure.
    """

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        """Starts nothing: `start` does.

        Args:
          name: Name of the thread.
          function: Function to run, again each time that it raises.
        """
        self.name = name
        self._function = function
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the function has returned."""
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._returns():
            time.sleep(_PAUSE_SECONDS)

    def _returns(self) -> bool:
        # Whatever it raises: without this thread every later study would wait for good.
        try:
            self._function()
        except BaseException as error:
            log_failure(f"the thread {self.name}", error)
            return False
        return True
