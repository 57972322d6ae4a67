"""Each function of an exported graph computes what its NumPy original computes."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.inference.masks.image_masks import image_bits, image_bits_graph
from ich_tf.inference.postprocessing.calibrators import METHODS, Calibrator
from ich_tf.inference.postprocessing.mixture import logit_graph, mix_logits, mix_logits_graph
from ich_tf.inference.postprocessing.postprocessing import Group, Postprocessing
from ich_tf.inference.postprocessing.prevalence import shift_prevalence, shift_prevalence_graph
from ich_tf.inference.postprocessing.site import SiteCalibrator
from ich_tf.inference.postprocessing.smoothing import (
    smooth,
    smooth_graph,
    smooth_logits,
    smooth_logits_graph,
)
from ich_tf.metrics import logit, sigmoid
from ich_tf.records.neighbours import neighbour_places, neighbour_places_graph
from ich_tf.windows import (
    apply_windows,
    apply_windows_graph,
    preset_windows,
    quantize_hu,
    quantize_hu_graph,
    resize_hu,
    resize_hu_graph,
    store_hu,
)

RNG = np.random.default_rng(0)
Z_MM = np.array([0.0, 5.0, 10.0, 12.5, 40.0])
LOGITS = RNG.normal(-1, 3, (5, 6))
# What a curve must answer at its knots, between them and beyond.
LOGITS[0, 0], LOGITS[1, 0] = -60.0, 60.0
OTHERS = RNG.normal(-1, 3, (5, 6))
PROBABILITIES = np.concatenate([sigmoid(LOGITS), np.zeros((1, 6)), np.ones((1, 6))])
WINDOWS = preset_windows(["brain", "bone"])
HU = RNG.uniform(-1024, 3071, (3, 20, 24)).astype(np.float32)
STORED = RNG.integers(0, 65521, (20, 24)).astype(np.uint16)
MAPS = RNG.uniform(size=(2, 12, 12, 6))
MASK_THRESHOLDS = np.array([0.2, 0.4, 0.5, 0.6, 0.8, 0.9])
CURVE = Calibrator(
    "isotonic",
    knots=(
        ((-2.0, -1.0, 1.0), (0.1, 0.4, 0.9)),
        ((), ()),
        ((0.5,), (0.3,)),
        ((), ()),
        ((), ()),
        ((-1.0, 0.0), (0.2, 0.2)),
    ),
)
FITTED = Postprocessing(smoothing_mm=4.0, groups=(Group(CURVE),), prevalence=0.3)

FOLDS = Postprocessing(
    smoothing_mm=4.0,
    groups=(
        Group(CURVE, Calibrator("platt", (2.0,) * 6), ("a", "b"), 0.75),
        Group(Calibrator("platt", (0.5,) * 6, (1.0,) * 6), members=("c",), share=0.25),
    ),
    prevalence=0.3,
)
SITE = SiteCalibrator(0.6, (-1.0, 0.0, 0.5, 1.0, -2.0, -0.3))
AT_SITE = dataclasses.replace(FOLDS, site=SITE, site_series=SiteCalibrator(2.0))


def fitted(method: str) -> Calibrator:
    logits = np.random.default_rng(1).normal(size=(200, 6))
    labels = (np.random.default_rng(2).uniform(size=(200, 6)) < sigmoid(2 * logits)).astype(int)
    return METHODS[method](labels, logits)


def resized(size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda hu: np.stack([resize_hu(slice_, size) for slice_ in hu])


def masks(rows: int, columns: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda maps: np.stack(
        [image_bits(each, MASK_THRESHOLDS, (), rows, columns) for each in maps]
    )


def masks_graph(rows: int, columns: int) -> Callable[[tf.Tensor], tf.Tensor]:
    size = tf.constant(rows), tf.constant(columns)
    return lambda maps: image_bits_graph(maps, MASK_THRESHOLDS, *size)


@pytest.mark.parametrize(
    ("original", "twin", "arguments", "tolerance"),
    [
        (logit, logit_graph, [PROBABILITIES], 1e-12),
        (lambda x: smooth(x, Z_MM, 4.0), lambda x: smooth_graph(x, Z_MM, 4.0), [LOGITS], 1e-12),
        (lambda x: smooth(x, Z_MM, 0.0), lambda x: smooth_graph(x, Z_MM, 0.0), [LOGITS], 0),
        (
            lambda x, z: smooth_logits(x, z, [""] * 5, 6.0),
            lambda x, z: smooth_logits_graph(x, z, 6.0),
            [LOGITS, Z_MM],
            1e-8,
        ),
        (
            lambda x, y: mix_logits([x, y], np.array([0.7, 0.3])),
            lambda x, y: mix_logits_graph([x, y], [0.7, 0.3]),
            [LOGITS, OTHERS],
            1e-8,
        ),
        (
            lambda x: mix_logits([x], np.ones(1)),
            lambda x: mix_logits_graph([x], [1.0]),
            [LOGITS],
            0,
        ),
        (CURVE, CURVE.graph, [LOGITS], 1e-12),
        *((fitted(name), fitted(name).graph, [LOGITS], 1e-12) for name in METHODS),
        (
            lambda x: shift_prevalence(x, 0.3, 0.01),
            lambda x: shift_prevalence_graph(x, 0.3, 0.01),
            [PROBABILITIES],
            1e-12,
        ),
        (
            lambda x, z: FITTED.probabilities([x], z, [""] * 5, 0.05),
            lambda x, z: FITTED.probabilities_graph([x], z, 0.05),
            [LOGITS, Z_MM],
            1e-9,
        ),
        (
            lambda x, z: FOLDS.probabilities([x, x[::-1]], z, [""] * 5, 0.05),
            lambda x, z: FOLDS.probabilities_graph([x, x[::-1]], z, 0.05),
            [LOGITS, Z_MM],
            1e-9,
        ),
        (SITE, SITE.graph, [np.linspace(0, 1, 30).reshape(5, 6)], 1e-12),
        (
            lambda x, z: AT_SITE.probabilities([x, x[::-1]], z, [""] * 5, 0.05),
            lambda x, z: AT_SITE.probabilities_graph([x, x[::-1]], z, 0.05),
            [LOGITS, Z_MM],
            1e-9,
        ),
        (
            lambda x: AT_SITE.series_probabilities([x, x[::-1]]),
            lambda x: AT_SITE.series_probabilities_graph([x, x[::-1]]),
            [LOGITS],
            1e-12,
        ),
        (
            lambda x: FOLDS.series_probabilities([x, x[::-1]]),
            lambda x: FOLDS.series_probabilities_graph([x, x[::-1]]),
            [LOGITS],
            1e-12,
        ),
        (
            lambda x: Postprocessing().probabilities([x], Z_MM, [""] * 5),
            lambda x: Postprocessing().probabilities_graph([x], None),
            [LOGITS],
            1e-12,
        ),
        (lambda n: neighbour_places(int(n), 5), lambda n: neighbour_places_graph(n, 5), [4], 0),
        # OpenCV resizes in float32.
        (resized(12), lambda hu: resize_hu_graph(hu, 12), [HU], 2e-3),
        (resized(7), lambda hu: resize_hu_graph(hu, 7), [HU], 2e-3),
        (resized(24), lambda hu: resize_hu_graph(hu, 24), [HU], 2e-3),
        (resized(50), lambda hu: resize_hu_graph(hu, 50), [HU], 2e-3),
        (resized(12), lambda hu: resize_hu_graph(hu, 12), [3 * HU - 2000], 2e-3),
        (quantize_hu, quantize_hu_graph, [np.rint(HU * 32) / 32], 0),
        (
            lambda stored: apply_windows(stored.astype(np.uint16), WINDOWS),
            lambda stored: apply_windows_graph(tf.cast(stored, tf.int32), WINDOWS),
            [STORED],
            0,
        ),
        (masks(12, 12), masks_graph(12, 12), [MAPS], 0),
        (masks(25, 30), masks_graph(25, 30), [MAPS], 0),
        (masks(7, 4), masks_graph(7, 4), [MAPS], 0),
    ],
)
def test_twin(
    original: Callable[..., np.ndarray],
    twin: Callable[..., tf.Tensor],
    arguments: list[np.ndarray],
    tolerance: float,
) -> None:
    tensors = [
        tf.constant(value, tf.int32 if np.asarray(value).dtype.kind in "iu" else tf.float64)
        for value in arguments
    ]
    computed = tf.function(twin)(*tensors).numpy()
    expected = original(*arguments)
    assert computed.shape == expected.shape
    np.testing.assert_allclose(computed, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("side", [128, 100, 57, 56, 30])
def test_stored_slices_differ_by_a_step_at_most(side: int) -> None:
    hu = np.random.default_rng(side).integers(-50, 120, (2, side, side)).astype(np.float32)
    hu[:, : side // 8] = -1000
    stored = quantize_hu_graph(resize_hu_graph(tf.constant(hu, tf.float64), 56)).numpy()
    expected = np.stack([store_hu(slice_, 56) for slice_ in hu])
    # A value in a thousand lies so near to a half that a float32 sum may turn it.
    assert (stored != expected).mean() < 5e-3
    assert np.abs(stored - expected.astype(int)).max() <= 1
