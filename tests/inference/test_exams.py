import numpy as np
import tensorflow as tf

from ich_tf.inference.exams import exams_of, join_exams
from ich_tf.inference.forward import predict_records
from ich_tf.inference.postprocessing.aggregation import SLICE, at_levels
from ich_tf.labels import ANY
from tests.inference.test_forward import record_batch

NAN = np.nan


def test_given_labels_stand_and_others_follow_from_the_slices() -> None:
    labels = np.zeros((4, 6), np.float32)
    labels[1, [2, ANY]], labels[2, 0], labels[3] = 1, NAN, NAN
    given = np.full((4, 6), NAN, np.float32)
    given[3, ANY] = 0.75
    exams, levels = exams_of(labels, ["a", "a", "b", "c"], given, ["", "", "", "study"])
    assert levels == ["slice", "slice", "slice", "study"]
    np.testing.assert_array_equal(exams[:2], [[0, 0, 1, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(exams[2], [NAN, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(exams[3], given[3])
    assert exams_of(labels[3:], ["c"])[1] == [""], "nothing is known"


def test_exams_of_a_patient() -> None:
    labels = np.array([[0.0, NAN, NAN, 0.25, NAN, 0], [0.0, 1, NAN, NAN, 0, 0.75]])
    np.testing.assert_array_equal(join_exams(labels), [0, 1, NAN, NAN, NAN, 0.75])


def test_levels_without_any_known_label_are_missing() -> None:
    labels = np.full((4, 6), NAN)
    labels[0, ANY] = 0
    exams = np.repeat([[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0.75]], 2, axis=0)
    series, probabilities = ["a", "a", "b", "b"], np.full((4, 6), 0.5)
    levels = at_levels(labels, probabilities, series, ["p", "p", "q", "q"], None, exams)
    np.testing.assert_array_equal(levels[SLICE].labels, labels[:1])
    np.testing.assert_array_equal(levels["series_max"].labels, exams[[0, 2]])
    np.testing.assert_array_equal(levels["patient_max"].labels, exams[[0, 2]])
    labels[0, ANY] = NAN
    levels = at_levels(labels, probabilities, series, ["p", "p", "q", "q"], None, exams)
    assert SLICE not in levels and len(levels["series_max"]) == 2


def test_records_with_labels_of_their_exam_alone_are_predicted() -> None:
    batch = record_batch(0, 4, np.eye(6, dtype=np.float32)[:5])
    batch["label_present"] = tf.constant([True, False, False, True, True])
    batch["labels_known"] = tf.constant([-1, 0, 0, 0b100001, -1], tf.int64)
    batch["series_key"] = tf.constant(["a", "b", "c", "d", "d"])
    batch["label_level"] = tf.constant(["", "study", "", "", ""])
    exams = np.full((5, 6), NAN, np.float32)
    exams[1, ANY] = 1
    batch["exam_labels"] = tf.constant(exams)
    found = predict_records(lambda images: np.zeros((len(images), 6)), [batch], expected=3)
    assert found.series_key == ["a", "b", "d"], "of c nothing is known, the second d is padding"
    assert found.label_level == ["slice", "study", "slice"]
    np.testing.assert_array_equal(found.labels[1], [NAN] * 6)
    np.testing.assert_array_equal(found.labels[2], [0, NAN, NAN, NAN, NAN, 0])
    np.testing.assert_array_equal(found.exam_labels[1:], [exams[1], found.labels[2]])
