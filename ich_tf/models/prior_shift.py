"""Undersampled negatives: the shift of the class priors, and its exact correction.

Nine tenths of all slices show no bleed. Reading, or counting, only a share r of them shifts every
class's prior; by Bayes' rule the shift can be undone exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import ANY
from ich_tf.runtime.keras2 import keras


def shift_prior(prior: np.ndarray, negatives_kept: float) -> np.ndarray:
    """Computes the prior of each class as training sees it.

    Args:
      prior: Share of the slices that show each class, float [6].
      negatives_kept: Share of the slices without a bleed that training sees, r, in (0, 1].

    Returns:
      float64 [6].

    Examples:
      >>> prior = np.array([0.1, 0.1, 0.1, 0.1, 0.2, 0.4])
      >>> shift_prior(prior, 1 / 3).round(3).tolist()  # 40 of 100 show a bleed, then 40 of 60
      [0.167, 0.167, 0.167, 0.167, 0.333, 0.667]
    """
    prior = np.asarray(prior, np.float64)
    return np.asarray(prior / (prior[ANY] + negatives_kept * (1 - prior[ANY])))


def undo_prior_shift(logits: tf.Tensor, negatives_kept: float) -> tf.Tensor:
    """Computes the logits for all slices of a model that was trained on a part of the negatives.

    With a the probability of a bleed and c that of a class, as training saw them, a class has the
    probability c * r / (1 - (1 - r) * a): for `any` itself, the logit moves by log r.

    Args:
      logits: Logits of the model, [n, 6], columns in the order of `labels.CLASSES`.
      negatives_kept: Share of the slices without a bleed that training saw, r, in (0, 1].

    Returns:
      float32 [n, 6].
    """
    logits = tf.cast(logits, tf.float32)
    if negatives_kept == 1:
        return logits
    # log c' - log(1 - c'), where 1 - c' = ((1 - r) * (1 - a) + r * (1 - c)) / ...: no difference of
    # nearly equal numbers.
    log_kept = tf.math.log(tf.constant(negatives_kept, tf.float32))
    log_lost = tf.math.log(tf.constant(1 - negatives_kept, tf.float32))
    no_bleed = tf.math.log_sigmoid(-logits[:, ANY : ANY + 1])
    remainder = tf.reduce_logsumexp(
        tf.stack(
            [log_lost + no_bleed + tf.zeros_like(logits), log_kept + tf.math.log_sigmoid(-logits)]
        ),
        axis=0,
    )
    return log_kept + tf.math.log_sigmoid(logits) - remainder


@keras.saving.register_keras_serializable(package="ich_tf")
class PriorShift(keras.layers.Layer):  # type: ignore[misc]
    """`undo_prior_shift` outside of training; in training the logits as they are."""

    def __init__(self, negatives_kept: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negatives_kept = negatives_kept

    def call(self, logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Computes logits [n, 6]."""
        return logits if training else undo_prior_shift(logits, self.negatives_kept)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "negatives_kept": self.negatives_kept}
