"""The best series of a study: the one that a reader opens first to look for a bleed.

Series are compared by the questions of `_QUESTIONS`, in that order; the first that tells two apart
decides. What is unknown is never refused: anonymised headers, RSNA's for example, say nothing of
kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ich_tf.dicom.series_description import SeriesDescription

# Slices of 5 mm are what reports are made of, and what RSNA's readers labelled.
_BEST_THICKNESS_MM = 5.0
# A head; of a spine or a neck in the same study, no more counts.
_HEAD_MM = 160.0
# Of the coverage of its like, what a whole series has; of the study's, what is no mere fragment.
_WHOLE, _FRAGMENT = 0.6, 0.15
_ORIGIN_RANKS = {"original": 0, "unknown": 1, "derived": 2}
_KERNEL_RANKS = {"soft": 0, "unknown": 1, "sharp": 2}
# Contents of a plain head CT; the others answer other questions, all of them equally little.
_PLAIN_RANKS = {"axial": 0, "unknown": 0, "monoenergetic": 1, "average": 1, "reformat": 2}


def why_not_best(study: Sequence[SeriesDescription]) -> list[str]:
    """Why each series of a study is not its best one.

    Args:
      study: All series of one study.

    Returns:
      For each series what counts against it, to follow "its series"; empty for the best one.
    """
    context = _Study(study)
    ranks = [tuple(rank(series, context) for _, rank in _QUESTIONS) for series in study]
    best = min(
        range(len(study)),
        key=lambda i: (ranks[i], study[i].uid, _pass_rank(study[i], context)),
    )
    return [
        ""
        if i == best
        else next(
            (
                why
                for (why, _), mine, least in zip(_QUESTIONS, ranks[i], ranks[best], strict=True)
                if mine != least
            ),
            "is like another one, or another pass of it, that is taken",
        )
        for i in range(len(study))
    ]


@dataclass(frozen=True)
class _Study:
    """What a series is compared with: the other series of its study."""

    series: Sequence[SeriesDescription]

    def share(
        self, series: SeriesDescription, same: Callable[[SeriesDescription], object]
    ) -> float:
        """Coverage of a series as a share of the largest among those that are the same in a way."""
        largest = max(_coverage(other) for other in self.series if same(other) == same(series))
        return _coverage(series) / largest if largest > 0 else 1.0

    def num_passes(self, series: SeriesDescription) -> int:
        """Number of passes of its series UID that look like it."""
        return sum(_look(other) == _look(series) for other in self.series)


def _coverage(series: SeriesDescription) -> float:
    return min(series.coverage_mm, _HEAD_MM)


def _is_special(series: SeriesDescription) -> bool:
    return series.content not in _PLAIN_RANKS


def _like(series: SeriesDescription) -> object:
    return _is_special(series), series.origin, series.contrast == "yes", series.kernel


def _look(series: SeriesDescription) -> object:
    return series.uid, series.content, series.slice_mm, _like(series)


def _pass_rank(series: SeriesDescription, study: _Study) -> int:
    """Of two passes the second wins: a scan is repeated because the first was spoiled.

    Of more the first wins: they are time points, and contrast agent has not arrived yet.
    """
    number = series.number_of_pass
    return -number if study.num_passes(series) == 2 else number


# What counts against a series, and the number by which series are compared: the least wins.
_QUESTIONS: tuple[tuple[str, Callable[[SeriesDescription, _Study], float]], ...] = (
    (
        "shows a projection, a map, vessels or a page, and the study has a plain series",
        lambda series, study: _is_special(series),
    ),
    (
        "was computed from another one, and the study has an original series",
        lambda series, study: _ORIGIN_RANKS[series.origin],
    ),
    (
        "covers a small part of what others of the study cover",
        lambda series, study: study.share(series, _is_special) < _FRAGMENT,
    ),
    (
        "was made with contrast agent, and the study has one without",
        lambda series, study: series.contrast == "yes",
    ),
    (
        "has a sharper kernel than another one, or an unknown one",
        lambda series, study: _KERNEL_RANKS[series.kernel],
    ),
    (
        "is a reformat, an average or of one energy, and the study has an axial series",
        lambda series, study: _PLAIN_RANKS.get(series.content, 3),
    ),
    (
        "is less than 0.6 as long as another one of its kind",
        lambda series, study: study.share(series, _like) < _WHOLE,
    ),
    (
        "is farther from slices of 5 mm than another one",
        lambda series, study: abs(series.slice_mm - _BEST_THICKNESS_MM),
    ),
    ("is shorter than another one", lambda series, study: -_coverage(series)),
    ("has fewer slices than another one", lambda series, study: -series.num_slices),
    (
        "has a higher number than one like it",
        lambda series, study: series.series_number if series.series_number >= 0 else math.inf,
    ),
)
