"""Classes of which nothing can be learned."""

import logging

import numpy as np
import pytest

from ich_tf.training.constant_classes import warn_of_constant_classes


def test_classes_without_a_positive_or_a_negative_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    warn_of_constant_classes(np.array([0.1, 0.2, 0.3, 0.4, np.nan, 0.5]))
    assert not caplog.records
    warn_of_constant_classes(np.array([0.0, 0.2, 0.0, 0.4, np.nan, 1.0]))
    none, all_ = (record.getMessage() for record in caplog.records)
    assert "no positive of epidural, intraventricular:" in none
    assert "no negative of any:" in all_
