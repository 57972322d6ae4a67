"""Labels of an exam follow from its slices' without a guess."""

from __future__ import annotations

import numpy as np
import pytest

from ich_tf.records.exam_labels import exam_of_slices


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
