import numpy as np
import pytest
import tensorflow as tf

from ich_tf.labels import ANY, CLASSES
from ich_tf.losses import training_loss, weighted_binary_crossentropy
from ich_tf.metrics import sigmoid
from ich_tf.models.prior_shift import shift_prior, undo_prior_shift
from ich_tf.models.slice_model import build_model


def logit(p):
    return np.log(p) - np.log1p(-p)


def drawn_probabilities(number=20, seed=0):
    """What is true of slices: a class is never likelier than `any`."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.001, 0.999, (number, len(CLASSES)))
    p[:, :ANY] *= p[:, ANY:]
    return p


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.1, 0.01])
def test_the_shift_is_undone_exactly(kept: float) -> None:
    true = drawn_probabilities()
    a = true[:, ANY:]
    # Of a crowd of such slices, those without a bleed are thinned out: Bayes, by counting.
    seen = true / (a + kept * (1 - a))
    found = undo_prior_shift(tf.constant(logit(seen), tf.float32), kept)
    np.testing.assert_allclose(sigmoid(found), true, rtol=1e-4)


def test_shifted_prior() -> None:
    prior = np.array([0.1, 0.1, 0.1, 0.1, 0.2, 0.4])
    # 40 with and 60 without a bleed; a third of the latter is kept: 40 of 60.
    np.testing.assert_allclose(shift_prior(prior, 1 / 3), prior * 100 / 60)
    np.testing.assert_array_equal(shift_prior(prior, 1.0), prior)


def test_certain_logits_stay_finite() -> None:
    logits = tf.constant([[100.0] * 6, [-100.0] * 6, [90.0] * 5 + [-90.0]])
    found = undo_prior_shift(logits, 0.1).numpy()
    assert np.isfinite(found).all()
    assert (found[0] > 50).all() and (found[1] < -50).all()


def test_weights_of_the_negatives_have_the_same_optimum_as_thinning() -> None:
    """The loss' minimum over constant logits, weighted, is the shifted prior."""
    rng = np.random.default_rng(1)
    labels = np.zeros((2000, 6), np.float32)
    labels[:500, ANY] = 1
    labels[:500, 0] = rng.random(500) < 0.3
    prior = labels.mean(axis=0)
    seen = shift_prior(prior, 0.25)
    logits = tf.constant(logit(np.clip(seen, 1e-6, 1 - 1e-6)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        spread = tf.broadcast_to(logits, labels.shape)
        loss = tf.reduce_mean(training_loss(labels, spread, negative_weight=0.25))
    np.testing.assert_allclose(tape.gradient(loss, logits), 0, atol=1e-6)


def test_training_loss_without_changes_is_the_loss() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (9, 6)).astype(np.float32)
    logits = rng.normal(size=(9, 6)).astype(np.float32)
    plain = weighted_binary_crossentropy(labels, logits)
    np.testing.assert_array_equal(training_loss(labels, logits), plain)
    smooth = training_loss(labels, logits, label_smoothing=0.1)
    np.testing.assert_allclose(
        smooth, weighted_binary_crossentropy(0.9 * labels + 0.05, logits), rtol=1e-6
    )


def test_the_model_undoes_it_outside_of_training() -> None:
    plain = build_model("tiny", (32, 32, 3), 32)
    model = build_model("tiny", (32, 32, 3), 32, negatives_kept=0.2)
    model.set_weights(plain.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(model(images), undo_prior_shift(plain(images), 0.2), atol=1e-5)
    training = model.get_layer("prior_shift")(plain(images), training=True)
    np.testing.assert_array_equal(training, plain(images))
