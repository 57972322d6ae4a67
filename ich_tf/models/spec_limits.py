"""Limits of the fields of specs, which may be a stranger's: compared before anything is built.

They are far beyond what is trained, and keep a file of a few bytes from asking for terabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MOST_PIXELS = 4096
MOST_WINDOWS = 16
MOST_NETWORKS = 1000
# 4 GiB in float32; convnext_xlarge, the largest backbone, has 350 million.
MOST_PARAMETERS = 2**30
_MOST_FEATURES = 2**17
_MOST_LAYERS = 64
_MOST_PATH = 4096
_WINDOW = re.compile(r"[\w.+-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Checks that low <= value <= high, which NaN is not.

    Raises:
      ValueError: If not.
    """
    if not low <= value <= high:
        raise ValueError(f"{name} is {value:g}; expected {low:g} to {high:g}")


def check_share(name: str, value: float) -> None:
    """Checks that a value lies in [0, 1).

    Raises:
      ValueError: If not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value:g}; expected one in [0, 1)")


def check_windows(windows: Sequence[str]) -> None:
    """Checks number and form of the names of windows.

    Raises:
      ValueError: If they are none.
    """
    if not 0 < len(windows) <= MOST_WINDOWS or not all(map(_WINDOW.fullmatch, windows)):
        raise ValueError(f"windows are no names of 1 to {MOST_WINDOWS} windows")


def check_series_size(feature_dim: int, units: int, layers: int) -> None:
    """Checks that a model over series has at most `MOST_PARAMETERS` parameters.

    Raises:
      ValueError: If it has more, or a size is out of range.
    """
    check_range("feature_dim", feature_dim, 1, _MOST_FEATURES)
    check_range("units", units, 1, MOST_PARAMETERS)
    check_range("layers", layers, 0, _MOST_LAYERS)
    # A transformer's layer has 4 matrices of attention and two of 4 times its width's square,
    # whose width is twice `units`; a bigru's has fewer.
    number = 2 * units * (feature_dim + 8) + layers * 40 * units**2
    if number > MOST_PARAMETERS:
        raise ValueError(
            f"units is {units} with {feature_dim} features and {layers} layers, which makes some "
            f"{number:.0e} parameters; expected {MOST_PARAMETERS:.0e} at most"
        )


def check_places(name: str, places: Sequence[str]) -> None:
    """Checks folders that a file names, which are relative to its own.

    Raises:
      ValueError: If there are too many, or one is absolute or no path.
    """
    if len(places) > MOST_NETWORKS:
        raise ValueError(f"{name} has {len(places)} entries; expected {MOST_NETWORKS} at most")
    for place in places:
        if not 0 < len(place) <= _MOST_PATH or place.startswith("/") or "\0" in place:
            raise ValueError(f"{name} has {place[:80]!r}; expected a path relative to the folder")


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal.

    Examples:
      >>> is_sha256("0" * 64), is_sha256("../0")
      (True, False)
    """
    return _SHA256.fullmatch(text) is not None


def check_prior(prior: Sequence[float], number: int) -> None:
    """Checks the shares of classes.

    Raises:
      ValueError: If they are not `number` probabilities.
    """
    if len(prior) != number or not all(0 <= p <= 1 and math.isfinite(p) for p in prior):
        raise ValueError(f"prior is {str(prior)[:80]}; expected {number} probabilities")
