"""Labels of slices with unknown ones: NaN where nothing is known, never 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.records.schema import SliceRecord

if TYPE_CHECKING:
    import tensorflow as tf

# Fields of a record that `known_labels_graph` takes.
KNOWN_FIELDS = ("labels", "label_present", "labels_known")
_BITS = np.array([1 << k for k in range(len(CLASSES))], np.int64)


def known_labels(record: SliceRecord) -> np.ndarray:
    """Labels of a record's slice, 0 or 1, or NaN where unknown, float32 [6]."""
    known = record.labels_known if record.label_present else 0
    return known_of_bits(np.asarray(record.labels, np.float32), np.array(known))


def known_of_bits(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels of slices, 0 or 1, or NaN where unknown.

    Args:
      labels: 0 or 1, float32 [..., 6].
      known: Bit k is set where the label of class k is known, as in `SliceRecord`, and is not where
        the image has no labels; int64 [...].
    """
    return np.where(known[..., None] & _BITS, labels, np.float32(np.nan))


def known_labels_graph(fields: dict[str, tf.Tensor]) -> tf.Tensor:
    """Labels of slices in a graph, 0 or 1, or NaN where unknown.

    Args:
      fields: `KNOWN_FIELDS` of one record or of a batch, as from `example.parse`.

    Returns:
      float32 [6] or [n, 6].
    """
    import tensorflow as tf

    known = tf.where(fields["label_present"] > 0, fields["labels_known"], 0)
    is_known = tf.bitwise.bitwise_and(known[..., None], _BITS) > 0
    return tf.where(is_known, tf.cast(fields["labels"], tf.float32), np.float32(np.nan))
