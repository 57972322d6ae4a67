"""Summary of the labels of exams of a conversion, for manifest, report and terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ich_tf.conversion.plan import Plan
from ich_tf.labels import CLASSES
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.schema import LABEL_LEVELS
from ich_tf.records.sidecar import Sidecar

# Words for the levels of an exam's labels, in the order of reports.
_LEVELS = {
    "slice": "from slices",
    "series": "of a series",
    "study": "of a study",
    "patient": "of a patient",
    "": "unknown",
}
assert set(_LEVELS) == {*LABEL_LEVELS, ""}


def exam_statistics(sidecars: Iterable[Sidecar]) -> ExamStatistics:
    """Statistics of all shards of a conversion with labels of exams."""
    return ExamStatistics.total(sidecar.exams for sidecar in sidecars if sidecar.exams is not None)


def exam_summary(sidecars: Sequence[Sidecar], agreement: str) -> dict[str, Any]:
    """Content of the manifest's `exams`: numbers by level and by class.

    Args:
      sidecars: Sidecars of all shards.
      agreement: Lines on how far readers agree; empty if the labels are of no readers.
    """
    total = exam_statistics(sidecars)
    return {
        "num_exams": sum(total.levels.values()),
        "levels": {level: total.levels.get(level, 0) for level in _LEVELS},
        "known": dict(zip(CLASSES, total.known, strict=True)),
        "positive": dict(zip(CLASSES, total.positive, strict=True)),
        "slices_labelled": total.slices_labelled,
        "slices_known": dict(zip(CLASSES, total.slices_known, strict=True)),
        "agreement": agreement.splitlines(),
    }


def planned_levels(plan: Plan) -> Counter[str]:
    """Number of exams of a plan by the level of their labels."""
    return Counter(series.label_level for shard in plan.shards for series in shard.series)


def levels_text(levels: Mapping[str, int]) -> str:
    """Words for the numbers of exams by level.

    Examples:
      >>> levels_text({"slice": 4, "study": 10, "": 0})
      '4 with labels from slices, 10 with labels of a study'
    """
    parts = [
        f"{levels[level]} with labels {words}" if level else f"{levels[level]} with unknown labels"
        for level, words in _LEVELS.items()
        if levels.get(level)
    ]
    return ", ".join(parts) or "none"


def exam_lines(exams: Mapping[str, Any], label_counts: Mapping[str, int]) -> list[str]:
    r"""Lines of a conversion's report.

    Args:
      exams: What `exam_summary` returns.
      label_counts: Number of positive slices per class.

    Examples:
      >>> counts = dict.fromkeys(CLASSES, 0)
      >>> exams = {"num_exams": 9, "levels": {"study": 9}, "known": {**counts, "any": 8},
      ...     "positive": {**counts, "any": 3}, "slices_labelled": 0, "slices_known": counts,
      ...     "agreement": []}
      >>> print(*exam_lines(exams, counts), sep="\n")
        exams: 9, 9 with labels of a study; slices with labels: 0
                              exams  of known   slices  of known
          any                     3         8        0         0
    """
    lines = [
        f"  exams: {exams['num_exams']}, {levels_text(exams['levels'])}; slices with labels: "
        f"{exams['slices_labelled']}",
        f"{'':<24}{'exams':>5}{'of known':>10}{'slices':>9}{'of known':>10}",
    ]
    for name, known in exams["known"].items():
        known_slices = exams["slices_known"][name]
        if known or known_slices:
            lines.append(
                f"    {name:<17}{exams['positive'][name]:>8}{known:>10}"
                f"{label_counts.get(name, 0):>9}{known_slices:>10}"
            )
    return [*lines, *(f"  {line}" for line in exams["agreement"])]


def exam_columns(total: ExamStatistics, counts: Sequence[int]) -> dict[str, Any]:
    """Numbers of a split for the report: of its exams, and shares among what is known.

    Args:
      total: Statistics of the split.
      counts: Number of positive slices per class.
    """
    return {
        "exams": sum(total.levels.values()),
        "exam_known": list(total.known),
        "exam_counts": list(total.positive),
        "exam_shares": _shares(total.positive, total.known),
        "known": list(total.slices_known),
        "labelled": total.slices_labelled,
        "shares": _shares(counts, total.slices_known),
    }


def _shares(counts: Sequence[int], known: Sequence[int]) -> list[float]:
    """Shares of the known ones, percent."""
    return [round(100 * a / max(1, b), 1) for a, b in zip(counts, known, strict=True)]
