import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from ich_tf import augment
from ich_tf.augment import augment_batch, make_augment
from ich_tf.config import TrainConfig

SEED = tf.constant([3, 4], tf.int64)


def images(shape=(5, 24, 32, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_identity_changes_nothing():
    batch = tf.constant(images())
    assert augment_batch(batch, SEED, TrainConfig()) is batch
    assert make_augment(TrainConfig()) is None


CONFIGS = [
    {"flip": True},
    {"shift": 0.2},
    {"rotate": 30.0},
    {"scale": 0.2},
    {"flip": True, "shift": 0.1, "rotate": 10.0, "scale": 0.1},
]


@pytest.mark.parametrize("changes", CONFIGS)
def test_eager_equals_map_and_seed_decides(changes):
    config = TrainConfig(**changes)
    batch = images((8, 24, 32, 3))
    eager = augment_batch(tf.constant(batch), SEED, config)
    assert eager.dtype == tf.uint8 and eager.shape == batch.shape
    dataset = tf.data.Dataset.from_tensors(batch)
    apply = make_augment(config)
    mapped = next(iter(dataset.map(lambda image: apply(image, SEED))))
    assert mapped.shape == batch.shape
    np.testing.assert_array_equal(eager, mapped)
    again = augment_batch(tf.constant(batch), tf.constant([3, 4], tf.int32), config)
    np.testing.assert_array_equal(eager, again)
    other = augment_batch(tf.constant(batch), tf.constant([3, 5], tf.int64), config)
    assert (eager.numpy() != other.numpy()).any()


def test_flip_mirrors_about_half():
    batch = images((200, 4, 6, 3))
    found = augment_batch(tf.constant(batch), SEED, TrainConfig(flip=True)).numpy()
    mirrored = (found == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (found == batch).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130


def transforms(**changes):
    one = {"mirror": 1.0, "right": 0.0, "down": 0.0, "angle": 0.0, "size": 1.0, **changes}
    values = {name: tf.constant([value], tf.float32) for name, value in one.items()}
    return augment._transforms(**values, height=9, width=9)


def transform(image, **changes):
    batch = tf.constant(image[None, ..., None], tf.float32)
    moved = augment._addons().image.transform(batch, transforms(**changes), "bilinear")
    return moved[0, ..., 0].numpy()


def test_each_transform_goes_where_it_says():
    image = np.zeros((9, 9))
    image[2, 3] = 100
    assert transform(image, right=2.0, down=1.0)[3, 5] == 100
    assert transform(image, mirror=-1.0)[2, 5] == 100
    # A quarter turn clockwise about (4, 4): up 2, left 1 -> right 2, up 1.
    assert transform(image, angle=np.pi / 2)[3, 6] == pytest.approx(100, abs=1e-3)
    # Twice as far from the centre: up 4, left 2.
    assert transform(image, size=2.0)[0, 2] == pytest.approx(100, abs=1e-3)
    # Mirrored first, then shifted.
    assert transform(image, mirror=-1.0, right=1.0)[2, 6] == 100


def test_outside_is_zero():
    found = transform(np.full((9, 9), 50.0), right=3.0)
    assert (found[:, :3] == 0).all() and (found[:, 3:] == 50).all()


def test_the_draws_keep_their_bounds():
    """A white centre pixel cannot move further than the shift, nor a disc change more."""
    batch = np.zeros((100, 21, 21, 1), np.uint8)
    batch[:, 10, 10] = 255
    found = augment_batch(tf.constant(batch), SEED, TrainConfig(shift=0.2)).numpy()[..., 0]
    rows = np.nonzero(found.sum(axis=2))[1]
    assert rows.min() < 8 and rows.max() > 12
    assert rows.min() >= 10 - 5 and rows.max() <= 10 + 5


def test_grey_levels_are_rounded_not_cut():
    """Half-pixel shifts of noise keep its mean; cutting off loses half a grey level."""
    batch = images((1, 101, 101, 1))
    config = TrainConfig(rotate=45.0)
    found = augment_batch(tf.constant(batch), SEED, config).numpy()
    exact = (
        augment._addons()
        .image.transform(
            tf.constant(batch, tf.float32),
            augment._transforms(
                mirror=tf.ones([1]),
                right=tf.zeros([1]),
                down=tf.zeros([1]),
                angle=tf.random.stateless_uniform([5, 1], SEED, -1.0, 1.0)[3] * np.pi / 4,
                size=tf.ones([1]),
                height=101,
                width=101,
            ),
            "bilinear",
        )
        .numpy()
    )
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert abs((found - exact).mean()) < 0.05


def test_addons_load_on_use_without_their_warning():
    code = (
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        "import sys, numpy as np, tensorflow as tf, ich_tf.augment as a\n"
        "from ich_tf.config import TrainConfig\n"
        "x = tf.zeros([1, 8, 8, 1], tf.uint8)\n"
        "a.augment_batch(x, [1, 2], TrainConfig())\n"
        "assert 'tensorflow_addons' not in sys.modules\n"
        "a.augment_batch(x, [1, 2], TrainConfig(flip=True))\n"
        "assert 'tensorflow_addons' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_warnings_are_not_silenced():
    augment._addons()
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)
