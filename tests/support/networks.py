"""Models of every kind, at their smallest: how each is built, and a batch that it reads."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ich_tf.losses import segmentation_loss, series_loss, weighted_binary_crossentropy
from ich_tf.models.architectures import smallest_size
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.saved import Spec
from ich_tf.models.series_model import SeriesSpec, packed_width
from ich_tf.models.spec import ModelSpec
from ich_tf.records.masked_labels import MaskedLabels
from ich_tf.training.step import Loss

WINDOWS = ("brain", "subdural", "soft")
FEATURES, SLOTS = 5, 6
# The smallest network of each family of keras.applications.
FAMILIES = (
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_b4", "efficientnet_v2_b0",
    "inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3_small",
    "nasnet_mobile", "regnet_x002", "regnet_y002", "resnet50", "resnet50_v2", "resnet_rs50",
    "vgg16", "xception",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of models.

    Attributes:
      spec: Spec of the model.
      inputs: Function of a number of examples that makes the model's input.
      loss: Loss that it is trained with.
    """

    spec: Spec
    inputs: Callable[[int], Any]
    loss: Loss = weighted_binary_crossentropy

    def labels(self, number: int) -> Any:
        """Labels, and for models over series weights, that fit the model's output."""
        rng = np.random.default_rng(1)
        if isinstance(self.spec, ModelSpec):
            labels = rng.integers(0, 2, (number, 6)).astype(np.float32)
            if not self.spec.segmentation:
                return labels
            mask = rng.integers(0, 64, (number, *self.spec.record_shape[:2]), np.uint8)
            return MaskedLabels(labels, mask, np.arange(number, dtype=np.int32) % 64)
        slots = SLOTS if isinstance(self.spec, SeriesSpec) else 3
        labels = rng.integers(0, 2, (number, 1 + slots, 7)).astype(np.float32)
        labels[..., -1] = 1 / slots
        return labels


def slices(backbone: str, *, stored_hu: bool = False, **options: Any) -> Kind:
    """A network over slices."""
    size = max(32, smallest_size(backbone))
    windows = WINDOWS if "windows" not in options else options.pop("windows")
    spec = ModelSpec(
        backbone,
        (size, size, 1 if stored_hu else len(windows)),
        size,
        windows,
        stored_hu=stored_hu,
        **options,
    )
    channels = spec.record_shape[2] * spec.neighbours

    def inputs(number: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        high, dtype = (1 << 16, np.uint16) if stored_hu else (256, np.uint8)
        return rng.integers(0, high, (number, size, size, channels), dtype)

    loss = segmentation_loss if spec.segmentation else weighted_binary_crossentropy
    return Kind(spec, inputs, loss)


def series(backbone: str) -> Kind:
    """A model over the features of series."""
    spec = SeriesSpec(backbone, FEATURES, 8, 2, 0.1, False, (0.1,) * 6)

    def inputs(number: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        packed = rng.normal(size=(number, SLOTS, packed_width(FEATURES))).astype(np.float32)
        packed[..., -2], packed[..., -1] = 500 * np.arange(SLOTS), 1
        packed[0, 2:] = 0
        return packed

    return Kind(spec, inputs, series_loss)


def end_to_end(sequence: str) -> Kind:
    """A network and a model over its features."""
    network = slices("tiny")
    assert isinstance(network.spec, ModelSpec)
    spec = EndToEndSpec(network.spec, SeriesSpec(sequence, 32, 8, 1, 0.1, False, (0.1,) * 6))

    def inputs(number: int) -> tuple[np.ndarray, np.ndarray]:
        places = np.ones((number, 3, 2), np.float32)
        places[..., 0] = 5 * np.arange(3)
        places[0, 2] = 0
        return network.inputs(3 * number).reshape(number, 3, *network.spec.record_shape), places

    return Kind(spec, inputs, series_loss)


# Made when they are asked for: a spec of a large network costs nothing, its model does.
KINDS: dict[str, Callable[[], Kind]] = {
    "tiny": functools.partial(slices, "tiny", dropout=0.1),
    **{name: functools.partial(slices, name) for name in FAMILIES},
    "one window": functools.partial(slices, "tiny", windows=("brain",)),
    "neighbours": functools.partial(slices, "tiny", neighbours=3, negatives_kept=0.5),
    "shared stem": functools.partial(slices, "tiny", neighbours=3, neighbour_stem="shared"),
    "segmentation": functools.partial(slices, "tiny", dropout=0.1, segmentation=True),
    "pixels alone": functools.partial(slices, "tiny", segmentation=True, pooling="lse"),
    "segmentation of hu16": functools.partial(
        slices, "tiny", stored_hu=True, neighbours=3, neighbour_stem="shared", segmentation=True
    ),
    "hu16": functools.partial(slices, "tiny", stored_hu=True, neighbours=3),
    "bigru": functools.partial(series, "bigru"),
    "transformer": functools.partial(series, "transformer"),
    "tiny with bigru": functools.partial(end_to_end, "bigru"),
    "tiny with transformer": functools.partial(end_to_end, "transformer"),
}
