import numpy as np
import pytest

from ich_tf.inference import make_logits_fn
from ich_tf.models import build_model
from ich_tf.strategies import make_strategy

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
def test_logits_are_the_models(number, model_and_strategy):
    model, strategy = model_and_strategy
    batch = images(number)
    logits = make_logits_fn(model, strategy)(batch)
    assert logits.shape == (number, 6) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, model(batch, training=False), atol=1e-6)


def test_weights_that_change_are_seen(model_and_strategy):
    model, strategy = model_and_strategy
    logits_fn = make_logits_fn(model, strategy)
    before = logits_fn(images(4))
    bias = model.get_layer("logits").bias
    bias.assign(bias + 1)
    np.testing.assert_allclose(logits_fn(images(4)), before + 1, atol=1e-5)


def test_one_batch_size_is_traced_once(model_and_strategy):
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


def test_no_slices(model_and_strategy):
    with pytest.raises(ValueError, match="images is empty"):
        make_logits_fn(*model_and_strategy)(images(0))
