"""A warning of classes that no slice of a training has, or all have."""

from __future__ import annotations

import logging

import numpy as np

from ich_tf.labels import CLASSES

_LOG = logging.getLogger(__name__)


def warn_of_constant_classes(shares: np.ndarray) -> None:
    """Warns where the labels of a class are all the same, as of a wrong label CSV.

    Args:
      shares: Share of positives of each class in the training folds, [6]; NaN where unknown.
    """
    for share, words in ((0.0, "no positive"), (1.0, "no negative")):
        names = [CLASSES[i] for i in np.flatnonzero(np.asarray(shares) == share)]
        if names:
            _LOG.warning(
                "The training folds have %s of %s: the model learns that it always is so. Check "
                "the label CSV and the folds.",
                *(words, ", ".join(names)),
            )
