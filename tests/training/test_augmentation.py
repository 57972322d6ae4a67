import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.runtime.addons import load_addons
from ich_tf.training import augmentation
from ich_tf.training.augmentation import augment_batch, make_augment
from ich_tf.training.config import TrainConfig
from ich_tf.windows import HU_RANGE, STEPS_PER_HU, store_hu
from tests.support.steps import needs_addons

SEED = tf.constant([3, 4], tf.int64)


def images(shape=(5, 24, 32, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def labels(number=5, seed=1):
    return np.random.default_rng(seed).integers(0, 2, (number, 6)).astype(np.float32)


def augmented(batch, seed=SEED, **changes):
    """The images alone, as an array."""
    found, _ = augment_batch(
        tf.constant(batch), tf.constant(labels(len(batch))), seed, TrainConfig(**changes)
    )
    return found.numpy()


def test_identity_changes_nothing() -> None:
    batch = images()
    assert make_augment(TrainConfig()) is None
    np.testing.assert_array_equal(augmented(batch), batch)


CONFIGS = [
    {"flip": True},
    {"shift": 0.2},
    {"rotate": 30.0},
    {"scale": 0.2},
    {"cutout": 0.3},
    {"mixup": 0.4},
    {"window_jitter": 0.2},
    {"flip": True, "shift": 0.1, "rotate": 10.0, "scale": 0.1, "cutout": 0.2, "mixup": 1.0},
]


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        (changes, dtype)
        for changes in CONFIGS
        for dtype in (np.uint8, np.uint16)
        if dtype == np.uint16 or "window_jitter" not in changes
    ],
)
def test_eager_equals_map_and_seed_decides(changes: Any, dtype: Any) -> None:
    batch = images((8, 24, 32, 3)).astype(dtype)
    if dtype == np.uint16:
        batch = batch * 4 + 16384  # 0 to 255 HU, as `windows.store_hu` keeps them
    given = labels(8)
    apply = make_augment(TrainConfig(**changes))
    eager, eager_labels = apply(tf.constant(batch), tf.constant(given), SEED)
    assert eager.dtype == dtype and eager.shape == batch.shape
    assert (eager.numpy() != batch).any()
    dataset = tf.data.Dataset.from_tensors((batch, given))
    mapped, mapped_labels = next(iter(dataset.map(lambda x, y: apply(x, y, SEED))))
    assert mapped.shape == batch.shape
    np.testing.assert_array_equal(eager, mapped)
    np.testing.assert_array_equal(eager_labels, mapped_labels)
    np.testing.assert_array_equal(eager, augmented(batch, tf.constant([3, 4], tf.int32), **changes))
    assert (eager.numpy() != augmented(batch, tf.constant([3, 5], tf.int64), **changes)).any()


def test_flip_mirrors_about_half() -> None:
    batch = images((200, 4, 6, 3))
    found = augmented(batch, flip=True)
    mirrored = (found == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (found == batch).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 70 < mirrored.sum() < 130


def transforms(**changes):
    one = {"mirror": 1.0, "right": 0.0, "down": 0.0, "angle": 0.0, "size": 1.0, **changes}
    values = {name: tf.constant([value], tf.float32) for name, value in one.items()}
    return augmentation._transforms(**values, height=9, width=9)


def transform(image, **changes):
    batch = tf.constant(image[None, ..., None], tf.float32)
    return augmentation._transformer()(batch, transforms(**changes))[0, ..., 0].numpy()


def test_each_transform_goes_where_it_says() -> None:
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


def test_outside_is_zero() -> None:
    found = transform(np.full((9, 9), 50.0), right=3.0)
    assert (found[:, :3] == 0).all() and (found[:, 3:] == 50).all()


def test_the_draws_keep_their_bounds() -> None:
    """A white centre pixel cannot move further than the shift, nor a disc change more."""
    batch = np.zeros((100, 21, 21, 1), np.uint8)
    batch[:, 10, 10] = 255
    found = augmented(batch, shift=0.2)[..., 0]
    rows = np.nonzero(found.sum(axis=2))[1]
    assert rows.min() < 8 and rows.max() > 12
    assert rows.min() >= 10 - 5 and rows.max() <= 10 + 5


def test_grey_levels_are_rounded_not_cut() -> None:
    """Turned noise keeps its mean; cutting off loses half a grey level."""
    batch = images((1, 101, 101, 1))
    config = TrainConfig(rotate=45.0)
    exact = augmentation._move(tf.constant(batch), tf.random.split(SEED, 4)[1], config).numpy()
    found = augmented(batch, rotate=45.0)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert abs((found - exact).mean()) < 0.05


@needs_addons
def test_the_same_pixels_without_addons() -> None:
    batch = tf.constant(images((3, 30, 20, 2)), tf.float32)
    moves = augmentation._transforms(
        mirror=tf.constant([1.0, -1, 1]),
        right=tf.constant([0.0, 2.5, -3]),
        down=tf.constant([1.0, 0, 3.25]),
        angle=tf.constant([0.0, 0.3, -0.1]),
        size=tf.constant([1.0, 1.1, 0.9]),
        height=30,
        width=20,
    )
    np.testing.assert_array_equal(
        augmentation._transform(batch, moves), augmentation._transformer()(batch, moves)
    )


def test_cutout_blackens_one_square_a_slice() -> None:
    batch = np.full((200, 40, 40, 2), 7, np.uint8)
    found = augmented(batch, cutout=0.25)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    for one in found[..., 0] == 0:
        rows, columns = np.nonzero(one)
        # A full rectangle, as large as the square or cut at the border.
        assert one.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 4 <= np.ptp(rows) + 1 <= 10 and 4 <= np.ptp(columns) + 1 <= 10
    assert set(np.nonzero(found[..., 0] == 0)[1]) == set(range(40))


def test_mixup_blends_a_slice_with_the_one_before() -> None:
    batch, given = images((300, 4, 4, 1)), labels(300)
    mixed, mixed_labels = augment_batch(
        tf.constant(batch), tf.constant(given), SEED, TrainConfig(mixup=0.4)
    )
    _, own_labels = augmentation.mix_up(
        tf.constant(batch), tf.eye(300), tf.random.split(SEED, 4)[3], 0.4
    )
    shares = np.diag(own_labels.numpy())
    assert (shares >= 0.5).all() and (shares <= 1).all()
    # The mean of max(x, 1 - x) for Beta(0.4, 0.4).
    larger = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert shares.mean() == pytest.approx(np.maximum(larger, 1 - larger).mean(), abs=0.03)
    share = shares[:, None]
    np.testing.assert_allclose(
        mixed_labels, share * given + (1 - share) * np.roll(given, 1, axis=0), atol=1e-5
    )
    share = shares[:, None, None, None]
    expected = share * batch + (1 - share) * np.roll(batch, 1, axis=0)
    assert np.abs(mixed.numpy() - expected).max() <= 0.5 + 1e-3


def test_window_jitter_is_another_window() -> None:
    """Of a jittered slice the brain window shows what a wider or narrower one shows of it."""
    hu = np.linspace(-200, 300, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    stored = store_hu(hu[0], 64)[None, ..., None]
    found, _ = augment_batch(
        tf.constant(np.repeat(stored, 50, axis=0)),
        tf.constant(labels(50)),
        SEED,
        TrainConfig(window_jitter=0.25),
    )
    slopes, shifts = [], []
    for one in found.numpy()[..., 0]:
        jittered = one / STEPS_PER_HU + HU_RANGE[0]
        slope, offset = np.polyfit(hu[0].ravel() - 40, jittered.ravel() - 40, 1)
        assert np.abs(slope * (hu[0] - 40) + offset - (jittered - 40)).max() < 0.5
        slopes.append(slope)
        shifts.append(offset)
    assert 0.78 < min(slopes) < 0.9 and 1.1 < max(slopes) < 1.27
    assert -20.5 < min(shifts) < -10 and 10 < max(shifts) < 20.5


@needs_addons
def test_addons_load_on_use_without_their_warning() -> None:
    code = (
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        "import sys, tensorflow as tf, ich_tf.training.augmentation as a\n"
        "from ich_tf.training.config import TrainConfig\n"
        "x, y = tf.zeros([1, 8, 8, 1], tf.uint8), tf.zeros([1, 6])\n"
        "a.augment_batch(x, y, [1, 2], TrainConfig(cutout=0.5))\n"
        "assert 'tensorflow_addons' not in sys.modules\n"
        "a.augment_batch(x, y, [1, 2], TrainConfig(flip=True))\n"
        "assert 'tensorflow_addons' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_warnings_are_not_silenced() -> None:
    load_addons()
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)
