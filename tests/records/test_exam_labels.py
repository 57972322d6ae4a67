"""Labels of an exam follow from its slices' without a guess."""

from __future__ import annotations

import numpy as np
import pytest

from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.masked_labels import read_mask_graph


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 0], 0),
        ([0, 1, 0], 1),
        ([np.nan, 1, np.nan], 1),
        ([0, np.nan, 0], np.nan),
        ([np.nan, np.nan], np.nan),
        ([], np.nan),
    ],
)
def test_a_class_is_absent_only_where_every_slice_is_known_to_be_without_it(
    values: list[float], expected: float
) -> None:
    labels = np.repeat(np.array(values, np.float32)[:, None], 6, axis=1)
    np.testing.assert_array_equal(exam_of_slices(labels), np.full(6, expected, np.float32))


def test_an_unknown_label_tells_no_decoder_that_a_class_is_absent() -> None:
    """Nor does an exam's: bits of the classes that are known to be absent, of four records."""
    import tensorflow as tf

    fields = {
        "mask": tf.constant(""),
        "annotated": tf.constant(0, tf.int64),
        "labels": tf.constant([0, 1, 0, 0, 0, 1], tf.int64),
    }

    def annotated(present: int, known: int) -> int:
        of_record = {
            "label_present": tf.constant(present, tf.int64),
            "labels_known": tf.constant(known, tf.int64),
        }
        return int(read_mask_graph({**fields, **of_record}, (4, 4, 1))[1])

    assert annotated(1, -1) == 0b011101
    assert annotated(1, 63) == 0b011101
    assert annotated(1, 0b100011) == 0b000001
    assert annotated(0, 0) == 0
