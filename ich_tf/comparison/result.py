"""The result of a comparison, as comparison.json holds it."""

from __future__ import annotations

from dataclasses import dataclass

from ich_tf.comparison.decisions import Decisions
from ich_tf.comparison.differences import Difference
from ich_tf.comparison.measures import Measure
from ich_tf.comparison.score_table import SLICE


@dataclass(frozen=True)
class ComparedModel:
    """A model of a comparison.

    Attributes:
      name: Name that it was given.
      path: File of its predictions.
      description: What its evaluation says of it; empty for a CSV.
      thresholds: Compared class -> least probability of a positive decision.
      is_pooled: Whether its exams have the greatest probability of their slices, because its file
        has only slices.
    """

    name: str
    path: str
    description: str
    thresholds: dict[str, float]
    is_pooled: bool


@dataclass(frozen=True)
class Comparison:
    """Models beside a reference, on the same patients.

    Attributes:
      level: What is scored, `slice` or `exam`.
      reference: Name of the reference.
      operating_point: Rule of the calibrations' thresholds.
      num_resamples: Number of resamples of the patients.
      num_examples, num_patients: Number of slices or exams, and of their patients.
      known: Class -> number of examples whose label is known.
      positives: Class -> number of examples that show it.
      models: Models, the reference among them.
      differences: Differences between each other model and the reference.
      decisions: Decisions beside each other, where both have thresholds.
    """

    level: str
    reference: str
    operating_point: str
    num_resamples: int
    num_examples: int
    num_patients: int
    known: dict[str, int]
    positives: dict[str, int]
    models: list[ComparedModel]
    differences: list[Difference]
    decisions: list[Decisions]

    @property
    def noun(self) -> str:
        """Word for what is scored."""
        return "slices" if self.level == SLICE else "exams"

    def report(self) -> str:
        """Describes the result as a table of text."""
        shown = ", ".join(f"{number} with {name}" for name, number in self.positives.items())
        lines = [
            f"{self.num_examples} {self.noun} of {self.num_patients} patients ({shown}); "
            f"differences to {self.reference}, with 95 % intervals by resampling patients"
        ]
        width = max(len(each.name) for each in self.models)
        for each in self.differences:
            name = Measure(each.metric, each.class_name).title
            margin = "" if each.margin is None else f" at a margin of {each.margin:g}"
            lines.append(
                f"{each.model:<{width}} {name:<30} {each.text():<40} {each.verdict}{margin}"
            )
        return "\n".join(lines)
