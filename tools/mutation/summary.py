"""What is printed of a module: the survivors that want a test, and the score."""

from __future__ import annotations

from tools.mutation.campaign import Outcome
from tools.mutation.survivors import Explained


def summary(module: str, outcome: Outcome, explained: Explained) -> list[str]:
    """Survivors that are not explained, then the score and how many survivors are."""
    new = [survivor for survivor in outcome.survivors if survivor not in explained]
    number = len(outcome.survivors)
    return [survivor.text() for survivor in new] + [
        f"{module}: {outcome.score:.1f} % ({outcome.killed} killed, "
        f"{number} survived, {number - len(new)} explained)"
    ]


def stale(module: str, outcome: Outcome, explained: Explained) -> list[str]:
    """Mutants of a module that are explained and did not survive, once all of it were tried."""
    if outcome.not_reached:
        return []
    here = {mutant for mutant in explained.mutants if mutant.module == module}
    return sorted(mutant.text() for mutant in here.difference(outcome.survivors))
