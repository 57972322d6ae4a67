"""Measures how often the intervals of ich_tf.compare cover the true difference.

  python -m tools.simulate_intervals

Simulates pairs of models on patients of several slices or exams, and prints how many of 100
intervals cover the difference among very many patients; in brackets percentile intervals of the
same resamples, and the number of pairs that have an interval where it is not all.

Exit codes: 0 done; 2 wrong usage.
"""

from __future__ import annotations

from absl import flags

from ich_tf.runtime import command

_PAIRS = flags.DEFINE_integer("pairs", 400, "Number of simulated pairs of models.", lower_bound=1)
_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 500, "Number of resamples of each.", lower_bound=100
)
_PATIENTS = flags.DEFINE_list("patients", ["15", "30", "100"], "Numbers of patients.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the simulation.", lower_bound=0)


def main() -> None:
    """Prints a row for each scenario and a column for each metric."""
    from tools.simulated_pairs import MEASURED, Scenario, measure_coverage

    names = [measure.title for measure in MEASURED]
    print(f"| level | patients | second model | {' | '.join(names)} |")
    print(f"| --- | ---: | --- |{' ---: |' * len(names)}")
    for level in ("slice", "exam"):
        for number in map(int, _PATIENTS.value):
            for factor in (1.0, 2.5):
                found = measure_coverage(
                    Scenario(level, number, factor),
                    num_pairs=_PAIRS.value,
                    num_resamples=_RESAMPLES.value,
                    seed=_SEED.value,
                )
                cells = []
                for coverage in found.values():
                    ours, percentiles = (f"{100 * share:.0f}" for share in coverage.shares)
                    few = "" if coverage.num_pairs == _PAIRS.value else f", n {coverage.num_pairs}"
                    cells.append(f"{ours} ({percentiles}{few})" if coverage.num_pairs else "none")
                model = "calibrated" if factor == 1 else "overconfident"
                print(f"| {level} | {number} | {model} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    command.run(main, __doc__)
