"""Actions at a bounded rate: which comes next is drawn by a seed, and never two at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tools.soaking.tally import Tally, Unexpected

Random = np.random.Generator


@dataclass(frozen=True)
class Action:
    """Something that a client does.

    Attributes:
      do: Function that does it, and returns the outcome; raises `Unexpected` at a wrong answer.
      weight: How often it is drawn, beside the others.
    """

    do: Callable[[Random], str]
    weight: float = 1.0


class PacedClient:
    """A thread that does one action after the other, with a pause between their beginnings."""

    def __init__(
        self,
        name: str,
        actions: Mapping[str, Action],
        seed: list[int],
        every_seconds: float,
        tally: Tally,
    ) -> None:
        """Stores its arguments; `start` starts the thread.

        Args:
          name: Name of the thread.
          actions: Kind -> action.
          seed: Seed of all that is drawn.
          every_seconds: Time from the beginning of an action to that of the next, which comes later
            if the action takes longer: what a slow machine leaves out is not made up for.
          tally: Counts of what was done.
        """
        self._actions, self._every, self._tally = actions, every_seconds, tally
        self._seed = seed
        weights = np.array([action.weight for action in actions.values()])
        self._shares = weights / weights.sum()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def end(self) -> None:
        """Lets the thread end after its action."""
        self._ended.set()

    def join(self, seconds: float) -> bool:
        """Waits for the end of the thread; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        kinds = list(self._actions)
        for number in itertools.count():
            if self._ended.is_set():
                return
            begun = time.monotonic()
            # What an action draws does not depend on those before it, which may be cut short.
            random = np.random.default_rng([*self._seed, number])
            kind = kinds[random.choice(len(kinds), p=self._shares)]
            self._do(kind, random)
            self._ended.wait(max(0.0, begun + self._every - time.monotonic()))

    def _do(self, kind: str, random: Random) -> None:
        # Whatever an action meets, the load goes on; it is a finding.
        try:
            self._tally.add(kind, self._actions[kind].do(random))
        except Unexpected as error:
            self._tally.fail(kind, str(error))
        except Exception as error:
            self._tally.fail(kind, f"{type(error).__name__}: {error}")
