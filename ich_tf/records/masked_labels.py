"""Labels of slices with their masks, as a network learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from ich_tf.labels import CLASSES

if TYPE_CHECKING:
    import tensorflow as tf

# Fields of a record that `read_mask_graph` takes, beside its labels.
MASK_FIELDS = ("mask", "annotated", "label_present")


class MaskedLabels(NamedTuple):
    """Labels of n slices, in training and in batches of the input pipeline.

    Attributes:
      labels: 0 or 1 for each class, float32 [n, 6].
      mask: Bit k marks class k, uint8 [n, H, W], of the size of the images.
      annotated: Bit k is set where the mask tells of class k, int32 [n].
    """

    labels: Any
    mask: Any
    annotated: Any


def read_mask_graph(
    fields: dict[str, tf.Tensor], image_shape: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads the mask of a record in a graph.

    A class that is labelled 0 is annotated, and empty, in a record whose mask tells of no class:
    so negative slices of data without masks teach a decoder, too. Where a mask tells of classes,
    the conversion has compared it with the labels, and its word stands.

    Args:
      fields: Fields `labels` and `MASK_FIELDS` of one record, as from `example.parse`; and
        `labels_known`, where labels may be unknown.
      image_shape: Rows, columns and channels (H, W, C) of the stored image.

    Returns:
      Mask, uint8 [H, W]; annotated classes, int32 [].
    """
    import tensorflow as tf

    rows, columns, _ = image_shape
    # Decoded in place of none: without a condition both are one batch's.
    empty = cv2.imencode(".png", np.zeros((rows, columns), np.uint8))[1].tobytes()
    encoded = tf.where(fields["mask"] == "", tf.constant(empty), fields["mask"])
    mask = tf.reshape(tf.io.decode_png(encoded, channels=1), (rows, columns))
    bits = tf.constant([1 << k for k in range(len(CLASSES))], tf.int64)
    absent = tf.reduce_sum(tf.where(fields["labels"] > 0, tf.zeros_like(bits), bits))
    if "labels_known" in fields:  # of data in which labels may be unknown, which are not absent
        absent = tf.bitwise.bitwise_and(absent, fields["labels_known"])
    is_known = (fields["annotated"] > 0) | (fields["label_present"] == 0)
    return mask, tf.cast(tf.where(is_known, fields["annotated"], absent), tf.int32)
