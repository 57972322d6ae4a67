from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.inference.forward import make_logits_fn, predict_records
from ich_tf.models.slice_model import build_model
from ich_tf.runtime.strategies import make_strategy

SHAPE = (32, 32, 3)


def images(number, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, *SHAPE), np.uint8)


@pytest.fixture(scope="module", params=[("one", 0), ("mirrored", 2)], ids=["one", "two"])
def model_and_strategy(request):
    strategy = make_strategy(*request.param)
    with strategy.scope():
        model = build_model("tiny", SHAPE, 32, dropout=0.5)
    return model, strategy


@pytest.mark.parametrize("number", [1, 2, 7, 8])
def test_logits_are_the_models(number: int, model_and_strategy: Any) -> None:
    model, strategy = model_and_strategy
    batch = images(number)
    logits = make_logits_fn(model, strategy)(batch)
    assert logits.shape == (number, 6) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, model(batch, training=False), atol=1e-6)


def test_weights_that_change_are_seen(model_and_strategy: Any) -> None:
    model, strategy = model_and_strategy
    logits_fn = make_logits_fn(model, strategy)
    before = logits_fn(images(4))
    bias = model.get_layer("logits").bias
    bias.assign(bias + 1)
    np.testing.assert_allclose(logits_fn(images(4)), before + 1, atol=1e-5)


def test_one_batch_size_is_traced_once(model_and_strategy: Any) -> None:
    model, strategy = model_and_strategy
    traces = []

    class Counting:
        def __call__(self, x, training):
            traces.append(x.shape)
            return model(x, training=training)

    logits_fn = make_logits_fn(Counting(), strategy)
    for seed in range(3):
        logits_fn(images(6, seed))
    assert len(traces) == strategy.num_replicas_in_sync


def test_no_slices(model_and_strategy: Any) -> None:
    with pytest.raises(ValueError, match="images is empty"):
        make_logits_fn(*model_and_strategy)(images(0))


def record_batch(first, kept, labels):
    """Returns a batch of `eval_batches` with `kept` records before the padding."""
    size = len(labels)
    return {
        "image": tf.constant(images(size, first)),
        "labels": tf.constant(labels),
        "mask": tf.range(size) < kept,
        "label_present": tf.ones([size], tf.bool),
        "source_id": tf.constant([f"ID_{first + i}" for i in range(size)]),
        "patient_key": tf.constant(["P"] * size),
        "series_key": tf.constant(["S"] * size),
        "scanner": tf.constant(["GE"] * size),
        "slice_index": tf.range(first, first + size, dtype=tf.int64),
        "z_mm": tf.range(size, dtype=tf.float32) * 5,
        "spacing_mm": tf.ones([size, 2]),
        "gantry_tilt_deg": tf.zeros([size]),
        "labels_known": tf.fill([size], tf.constant(-1, tf.int64)),
        "exam_labels": tf.fill([size, 6], np.float32(np.nan)),
        "label_level": tf.fill([size], ""),
    }


def test_predict_records_leaves_padding_out(model_and_strategy: Any) -> None:
    model, strategy = model_and_strategy
    labels = np.random.default_rng(1).integers(0, 2, (16, 6)).astype(np.float32)
    batches = [record_batch(0, 8, labels[:8]), record_batch(8, 5, labels[8:])]
    predictions = predict_records(make_logits_fn(model, strategy), batches, expected=13)
    np.testing.assert_array_equal(predictions.labels, labels[:13])
    assert predictions.source_id == [f"ID_{i}" for i in range(13)]
    np.testing.assert_array_equal(predictions.slice_index, np.arange(13))
    assert predictions.spacing_mm.shape == (13, 2) and predictions.scanner == ["GE"] * 13
    pixels = np.concatenate([batch["image"].numpy() for batch in batches])[:13]
    np.testing.assert_allclose(predictions.logits, model(pixels, training=False), atol=1e-6)
    with pytest.raises(DataError, match=r"13 labelled records; the manifest counts 14"):
        predict_records(make_logits_fn(model, strategy), batches, expected=14)
