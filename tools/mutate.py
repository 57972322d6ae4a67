"""Puts small faults into metrics, splits, matching and shards, and counts those that tests notice.

  python -m tools.mutate --room=splits,ich_tf/metrics/ranking.py

mutmut changes one operator, number, argument or statement at a time, in a copy of the package, and
runs the fast tests of the room. A fault that no test notices survives; it is printed as a diff,
unless tests/mutants.md explains why no test can notice it.

Exit codes: 0 every module reaches --floor; 1 one does not; 2 wrong usage.
"""

from __future__ import annotations

from absl import flags

from ich_tf.runtime import command

command.add_headings({"room": "Modules", "seconds": "Limits"})
_ROOM = flags.DEFINE_list(
    "room", [], "Rooms (metrics, splits, matching, shards) or paths of modules; all if empty."
)
_SECONDS = flags.DEFINE_float("seconds", 1800.0, "Longest time for a room, s.", lower_bound=1)
_FLOOR = flags.DEFINE_float(
    "floor", 90.0, "Lowest score of a module, percent.", lower_bound=0, upper_bound=100
)
_JOBS = flags.DEFINE_integer("jobs", 1, "Number of mutants tested at a time.", lower_bound=1)
_FOLDER = command.define_path("work_dir", "mutants", "Folder for the mutated copies.")


def main() -> None:
    """Mutates, tests, and prints the scores and the survivors."""
    from importlib.util import find_spec
    from pathlib import Path

    from ich_tf.errors import DataError, UsageError
    from tools.mutation.campaign import run
    from tools.mutation.rooms import ROOT, chosen
    from tools.mutation.summary import stale, summary
    from tools.mutation.survivors import read_explained

    if find_spec("mutmut") is None:
        raise UsageError("mutmut is not installed; run `make mutants`, which installs it.")
    explained = read_explained(ROOT / "tests" / "mutants.md")
    too_low, noticed = [], []
    for name, room in chosen(_ROOM.value).items():
        outcomes = run(room, Path(_FOLDER.value).resolve() / name, _SECONDS.value, _JOBS.value)
        for module, outcome in outcomes.items():
            for text in summary(module, outcome, explained):
                command.show(text)
            if outcome.not_reached:
                command.show(f"{outcome.not_reached} mutants not tried in {_SECONDS.value:g} s")
            if outcome.score < _FLOOR.value:
                too_low.append(module)
            noticed += stale(module, outcome, explained)
    for text in noticed:
        command.show(f"explained in tests/mutants.md, but no survivor:\n{text}")
    if too_low:
        raise DataError(
            f"{', '.join(too_low)}: fewer than {_FLOOR.value:g} % of the mutants were noticed. Add "
            "tests of the behaviour that the survivors above change, or explain them in "
            "tests/mutants.md."
        )


if __name__ == "__main__":
    command.run(main, __doc__)
