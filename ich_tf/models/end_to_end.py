"""A network over slices and a model over its features, trained as one on slabs of slices.

What was trained together is used apart, as stage two is: the network reads each slice once, and the
model over the series then reads all of them, however many there are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.slice_model import with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras

VERSION = 1
KIND = "end_to_end"


@dataclasses.dataclass(frozen=True)
class EndToEndSpec:
    """All that is needed to build both models again and to feed them.

    Attributes:
      network: Over slices.
      series: Over the network's features, as they are.
      kind: Tells it from other specs.
      version: `VERSION`.
    """

    network: ModelSpec
    series: SeriesSpec
    kind: str = KIND
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"version is {self.version}; this version reads {VERSION}")
        if self.network.neighbours != 1:
            raise ValueError(f"neighbours is {self.network.neighbours}; expected 1")

    @property
    def backbone(self) -> str:
        """What it is, in a word."""
        return f"{self.network.backbone} with {self.series.backbone}"

    def build(self, *, weights: str = "none", bias: np.ndarray | None = None) -> keras.Model:
        """Builds both models as one.

        Args:
          weights: Of the network, as of `models.build_model`.
          bias: float [6], prior probabilities that the logits begin with.

        Returns:
          A model of two inputs: images, uint8 or float [b, k, H, W, C] as the records hold them;
          and float32 [b, k, 2], the place of each slice along the normal in mm, counted from the
          first, and 1 for a slice, 0 for none. Float32 logits [b, 1 + k, 6], as of
          `series_model.build_series_model`.
        """
        network = with_features(self.network.build(weights=weights, bias=bias))
        series = self.series.build(bias=bias)
        images = keras.Input((None, *self.network.record_shape), name="images")
        places = keras.Input((None, 2), name="places")
        flat = _Flatten(name="flatten", dtype="float32")(images)
        packed = _Pack(name="pack_slices", dtype="float32")([network(flat), places])
        return keras.Model([images, places], series(packed), name="ich_end_to_end")


def parts(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The network over slices, with its logits alone, and the model over series.

    Args:
      model: As `EndToEndSpec.build` gives it; its parts share its weights.
    """
    both, series = (one for one in model.layers if isinstance(one, keras.Model))
    logits, _ = both.layers[-1].input
    return keras.Model(both.input, logits, name="ich_network"), series


class _Flatten(keras.layers.Layer):  # type: ignore[misc]
    """[b, k, H, W, C] of any type -> [b * k, H, W, C] of the same."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.reshape(images, [-1, *images.shape[2:]])


class _Pack(keras.layers.Layer):  # type: ignore[misc]
    """Outputs [b * k, 6 + F] and places [b, k, 2] -> as `series_model.pack`, [b, k, F + 8]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        outputs, places = inputs
        shape = tf.shape(places)
        outputs = tf.reshape(outputs, [shape[0], shape[1], outputs.shape[-1]])
        logits, features = outputs[..., : len(CLASSES)], outputs[..., len(CLASSES) :]
        # What stands in empty slots must not reach the gradients of others.
        own = tf.concat([features, logits], axis=-1) * places[..., 1:]
        return tf.concat([own, places], axis=-1)
