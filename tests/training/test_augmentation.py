import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.records.masked_labels import MaskedLabels
from ich_tf.runtime.addons import load_addons
from ich_tf.training import augmentation
from ich_tf.training.augmentation import augment_batch, augments
from ich_tf.training.augmentation_draws import OPERATIONS, draw_changes
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
    assert not augments(TrainConfig())
    assert all(augments(TrainConfig(**changes)) for changes in CONFIGS)
    np.testing.assert_array_equal(augmented(batch), batch)


CONFIGS = [
    {"flip": True},
    {"shift": 0.2},
    {"rotate": 30.0},
    {"scale": 0.2},
    {"cutout": 0.3},
    {"mixup": 0.4},
    {"window_jitter": 0.2},
    {"augment_operations": 2},
    {"augment_operations": len(OPERATIONS), "augment_magnitude": 10.0, "mixup": 0.4},
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
    config = TrainConfig(**changes)
    eager, eager_labels = augment_batch(tf.constant(batch), tf.constant(given), SEED, config)
    assert eager.dtype == dtype and eager.shape == batch.shape
    assert (eager.numpy() != batch).any()
    dataset = tf.data.Dataset.from_tensors((batch, given))
    mapped, mapped_labels = next(iter(dataset.map(lambda x, y: augment_batch(x, y, SEED, config))))
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


def draws_of(number=1, **changes):
    draws = draw_changes(TrainConfig(), number, SEED)
    return draws._replace(
        **{name: tf.fill([number], tf.cast(value, tf.float32)) for name, value in changes.items()}
    )


def transform(image, **changes):
    batch = tf.constant(image[None, ..., None], tf.float32)
    return augmentation.move(batch, draws_of(**changes))[0, ..., 0].numpy()


def test_each_transform_goes_where_it_says() -> None:
    image = np.zeros((9, 9))
    image[2, 3] = 100
    assert transform(image, right=2 / 9, down=1 / 9)[3, 5] == pytest.approx(100, abs=1e-3)
    assert transform(image, mirror=-1.0)[2, 5] == 100
    # A quarter turn clockwise about (4, 4): up 2, left 1 -> right 2, up 1.
    assert transform(image, angle=np.pi / 2)[3, 6] == pytest.approx(100, abs=1e-3)
    # Twice as far from the centre: up 4, left 2.
    assert transform(image, log_size=np.log(2))[0, 2] == pytest.approx(100, abs=1e-3)
    # Mirrored first, then shifted.
    assert transform(image, mirror=-1.0, right=1 / 9)[2, 6] == pytest.approx(100, abs=1e-3)
    # Two rows above the centre, a row is moved by twice the shear.
    assert transform(image, shear=0.5)[2, 2] == pytest.approx(100, abs=1e-3)


def test_outside_is_zero() -> None:
    found = transform(np.full((9, 9), 50.0), right=3 / 9)
    assert (found[:, :3] < 1e-3).all() and (np.abs(found[:, 3:] - 50) < 1e-2).all()


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
    exact = augmentation.move(tf.constant(batch), draw_changes(config, 1, SEED)).numpy()
    found = augmented(batch, rotate=45.0)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert abs((found - exact).mean()) < 0.05


@needs_addons
def test_the_same_pixels_as_addons() -> None:
    batch = tf.constant(images((3, 30, 20, 2)), tf.float32)
    config = TrainConfig(flip=True, shift=0.2, rotate=20.0, scale=0.2)
    draws = draw_changes(config, 3, SEED)
    expected = load_addons().image.transform(
        batch,
        augmentation.transforms(draws, height=30, width=20),
        interpolation="bilinear",
        fill_mode="constant",
    )
    np.testing.assert_array_equal(augmentation.move(batch, draws), expected)


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
    shares = draw_changes(TrainConfig(mixup=0.4), 300, SEED).kept.numpy()
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


@pytest.mark.parametrize("changes", [CONFIGS[0], CONFIGS[5], *CONFIGS[-2:]])
@pytest.mark.parametrize("slices", [0, 3])
def test_a_part_of_a_batch_is_changed_as_in_the_whole(changes: Any, slices: int) -> None:
    shape = (8, 3, 16, 20, 2) if slices else (8, 16, 20, 2)
    batch, given, config = images(shape), labels(8), TrainConfig(**changes)
    whole, whole_labels = augment_batch(tf.constant(batch), tf.constant(given), SEED, config)
    for first in (0, 4):
        partner = 1 if config.mixup else 0
        examples = np.arange(first - partner, first + 4) % 8
        part, part_labels = augment_batch(
            tf.constant(batch[examples]),
            tf.constant(given[examples]),
            SEED,
            config,
            number=8,
            examples=tf.constant(examples, tf.int32),
        )
        np.testing.assert_array_equal(part, whole[first : first + 4])
        np.testing.assert_array_equal(part_labels, whole_labels[first : first + 4])


def test_flip_z_reverses_the_neighbours_of_about_half() -> None:
    batch = images((200, 3, 4, 4, 1))
    found = augmented(batch, flip_z=True, neighbours=3)
    turned = (found == batch[:, ::-1]).all(axis=(1, 2, 3, 4))
    kept = (found == batch).all(axis=(1, 2, 3, 4))
    assert (turned ^ kept).all() and 70 < turned.sum() < 130


def test_as_many_operations_as_asked_at_their_magnitude() -> None:
    draws = draw_changes(TrainConfig(augment_operations=3, augment_magnitude=5.0), 500, SEED)
    fields = ("right", "down", "angle", "log_size", "shear", "log_contrast", "brightness", "blur")
    fields += ("noise", "cut_side")
    amounts = np.stack([getattr(draws, name) for name in fields], axis=1)
    assert ((amounts != 0).sum(axis=1) == 3).all()
    for column, (name, largest) in zip(amounts.T, OPERATIONS.items(), strict=True):
        chosen = column[column != 0]
        assert 100 < len(chosen) < 200, name
        np.testing.assert_allclose(np.abs(chosen), largest / 2, rtol=1e-5)
        has_sign = name not in ("blur", "noise", "cutout")
        assert (0.3 < (chosen > 0).mean() < 0.7) == has_sign, name


def test_grey_levels_blur_and_noise_by_formula() -> None:
    batch = images((2, 12, 10, 3)).astype(np.float32)
    draws = draws_of(2, log_contrast=0.2, brightness=-0.1, blur=0.25, noise=0.02)
    found = augmentation.change_grey_levels(tf.constant(batch), draws, stored_hu=False)
    expected = np.clip((batch - 127.5) * np.exp(0.2) + 127.5 - 25.5, 0, 255)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    padded = np.pad(batch, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="symmetric")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    expected = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    np.testing.assert_allclose(augmentation.blur(tf.constant(batch), draws.blur), expected, 1e-4)
    flat = tf.fill([6, 64, 64, 2], 100.0)
    noisy = augmentation.add_noise(
        flat, draws_of(2, noise=0.02).for_stacks(3), SEED, slices=3, stored_hu=False
    ).numpy()
    assert noisy.std(axis=(1, 2)) == pytest.approx(0.02 * 255, rel=0.05)
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
    assert len(np.unique(noisy[:, 0, 0, 0])) == 6


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


def test_other_warnings_are_not_silenced() -> None:
    load_addons()
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


@pytest.mark.parametrize("changes", [x for x in CONFIGS if "mixup" not in x])
def test_masks_are_moved_as_images_are(changes: Any) -> None:
    """A white rectangle and its mask: both lie at the same place afterwards."""
    mask = np.zeros((16, 24, 32), np.uint8)
    mask[:, 6:14, 8:20] = 0b100001
    batch = np.where(mask[..., None] > 0, 255, 0).astype(np.uint8)
    given = MaskedLabels(labels(16), mask, np.full(16, 63, np.int32))
    found, moved = augment_batch(
        tf.constant(batch),
        tf.nest.map_structure(tf.constant, given),
        SEED,
        TrainConfig(**changes, segmentation=True),
    )
    assert set(np.unique(moved.mask)) == {0, 0b100001}
    np.testing.assert_array_equal(moved.labels, given.labels)
    np.testing.assert_array_equal(moved.annotated, given.annotated)
    differs = (found.numpy()[..., 0] > 127) != (moved.mask.numpy() > 0)
    # Interpolated edges may fall either way, blurred and noisy ones more often.
    assert differs.mean() < (0.06 if "augment_operations" in changes else 0.02)
