"""Out-of-fold predictions of slices that are labelled in part, or not at all."""

import logging

import numpy as np
import pandas as pd
import pytest

from ich_tf.evaluation.cross_validation import _write_table
from ich_tf.evaluation.result import predictions_table
from ich_tf.metrics import weighted_log_loss
from tests.support.made_up import made_up, of_exams


@pytest.mark.parametrize("labelled", [0.0, 0.5])
def test_the_loss_is_of_the_labelled_slices(labelled: float, tmp_path, caplog) -> None:
    predictions = of_exams(made_up(), labelled)
    table = predictions_table(predictions, predictions.probabilities)
    with caplog.at_level(logging.INFO):
        _write_table(tmp_path / "oof.csv", table, "by nobody")
    read = pd.read_csv(tmp_path / "oof.csv")
    np.testing.assert_array_equal(read["label_any"], predictions.labels[:, 5])
    if not labelled:
        assert "none is labelled" in caplog.text
        return
    known = ~np.isnan(predictions.labels[:, 0])
    loss = weighted_log_loss(predictions.labels[known], predictions.probabilities[known])
    assert f"loss {loss:.4f}" in caplog.text
