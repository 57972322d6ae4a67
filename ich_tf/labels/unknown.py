"""Labels and how they are written, known or not; and what follows from the known ones.

Unknown is NaN in every array of labels, and never 0: a class that a report does not mention is not
known to be absent.
"""

from __future__ import annotations

import numpy as np

from ich_tf.labels.classes import ANY, CLASSES, SUBTYPES
from ich_tf.runtime.numbers import decimal_number

# In lower case. CheXpert's tables write -1 for what a report leaves open, and nothing for what it
# does not mention.
UNKNOWN_WORDS = frozenset(
    ("", "nan", "na", "n/a", "<na>", "none", "null", "unknown", "uncertain", "?")
)
_TRUTH = {"true": 1.0, "false": 0.0}
# A share of readers from which on a class counts as present.
POSITIVE = 0.5


def label_number(text: str, separator: str) -> float:
    """A label or probability as a number; NaN for any other text.

    Args:
      text: Label as written.
      separator: Character between the values of the file: where it is no comma, that is decimal.

    Examples:
      >>> label_number("TRUE", ","), label_number("0,5", ";"), label_number("0,5", ",")
      (1.0, 0.5, nan)
    """
    text = text.strip().casefold()
    if separator != ",":
        text = text.replace(",", ".")
    return _TRUTH[text] if text in _TRUTH else decimal_number(text)


def are_unknown(texts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Marks of the labels that are written as unknown.

    Args:
      texts: Labels as written, objects [n]; NaN where a row ends before its label.
      values: The same as numbers, float64 [n], NaN for no number.

    Returns:
      bool [n].
    """
    words = [str(text).strip().casefold() in UNKNOWN_WORDS for text in texts]
    marks: np.ndarray = (values == -1) | np.array(words, bool)
    return marks


def complete(labels: np.ndarray, *, is_any_told: bool = True) -> np.ndarray:
    """Labels with those that follow from the others.

    A subtype that is present makes an unknown `any` as great as itself; `any` of 0 makes unknown
    subtypes 0. All subtypes absent leave an unknown `any` unknown, since a bleed may be of no
    subtype; but where nothing was said of `any` anywhere, it is the greatest of five known ones.

    Args:
      labels: Labels in [0, 1] or NaN, float [n, 6].
      is_any_told: Whether the source of the labels tells of `any`.

    Returns:
      float64 [n, 6].

    Examples:
      >>> complete(np.array([[np.nan, 1, np.nan, np.nan, 0, np.nan]]))[0].tolist()
      [nan, 1.0, nan, nan, 0.0, 1.0]
    """
    labels = np.array(labels, np.float64)
    subtypes, any_ = labels[:, :ANY], labels[:, ANY]
    greatest = np.fmax.reduce(subtypes, axis=1)
    follows = greatest >= POSITIVE
    if not is_any_told:
        follows |= ~np.isnan(subtypes).any(axis=1)
    follows &= np.isnan(any_)
    any_[follows] = greatest[follows]
    subtypes[np.isnan(subtypes) & (any_ == 0)[:, None]] = 0
    return labels


def contradictions(labels: np.ndarray) -> dict[int, str]:
    """What is wrong with rows in which a subtype is more likely present than any bleed.

    Args:
      labels: Labels in [0, 1] or NaN, float [n, 6].

    Returns:
      Words by the number of the row.
    """
    is_wrong = labels[:, :ANY] > labels[:, ANY:]  # no comparison with NaN is true
    words = {}
    for row in np.flatnonzero(is_wrong.any(axis=1)).tolist():
        name = int(np.flatnonzero(is_wrong[row])[0])
        words[row] = (
            f"{SUBTYPES[name]} is {labels[row, name]:.3g} with {CLASSES[ANY]} = "
            f"{labels[row, ANY]:.3g}"
        )
    return words
