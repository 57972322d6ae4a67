"""Modules that are mutated, in rooms, and the tests that must notice.

The tests of a room load no TensorFlow and start no process: a mutant is forked from a process that
has imported them, and costs a tenth of a second. What a process of its own runs is the module
without its fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_tf.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Room:
    """Modules that are tested together.

    Attributes:
      modules: Paths of the modules from the root of the checkout.
      tests: Files or folders of tests, likewise.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _metrics() -> tuple[str, ...]:
    # The Keras metrics load TensorFlow or Keras 3: tests/metrics/test_keras_metric.py and
    # .ci/metrics test them.
    paths = sorted((ROOT / "ich_tf" / "metrics").glob("*.py"))
    return tuple(
        f"ich_tf/metrics/{path.name}" for path in paths if not path.name.startswith(("keras", "__"))
    )


def _tests(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{folder}/test_{name}.py" for name in names)


ROOMS = {
    "splits": Room(("ich_tf/records/splits.py",), _tests("records", "splits", "docstrings")),
    "shards": Room(
        tuple(f"ich_tf/records/{name}.py" for name in ("shard_index", "shard_labels", "shards")),
        _tests("records", "shards", "shard_index", "shard_labels", "docstrings"),
    ),
    "matching": Room(
        tuple(f"ich_tf/conversion/{name}.py" for name in ("matching", "exam_matching")),
        _tests("conversion", "matching", "exam_matching"),
    ),
    "metrics": Room(_metrics(), ("tests/metrics",)),
}
# Tests of these rooms that meet TensorFlow.
LEFT_OUT = ("tests/metrics/test_keras_metric.py",)


def chosen(names: Sequence[str]) -> dict[str, Room]:
    """Rooms by name; a module's path chooses the module alone, with the tests of its room.

    Args:
      names: Names of rooms or paths of modules; none for all rooms.

    Raises:
      UsageError: If a name is neither.

    Examples:
      >>> chosen(["ich_tf/records/shards.py"])["shards"].modules
      ('ich_tf/records/shards.py',)
    """
    rooms: dict[str, Room] = {}
    for name in names or ROOMS:
        if name in ROOMS:
            rooms[name] = ROOMS[name]
            continue
        home = next((room for room in ROOMS if name in ROOMS[room].modules), None)
        if home is None:
            raise UsageError(
                f"--room: {name!r} is no room and no module of one; expected one of "
                f"{', '.join(ROOMS)} or a path such as ich_tf/metrics/ranking.py."
            )
        modules = rooms[home].modules if home in rooms else ()
        rooms[home] = Room((*modules, name), ROOMS[home].tests)
    return rooms
