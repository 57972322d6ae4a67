"""A network over slices and a model over its features, trained as one on slabs of slices.

They are trained together and used apart, as a model over extracted features is: the network reads
each slice once, and the model over the series then reads the features of all slices, however many
there are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.models.series_layers import NUM_CLASSES
from ich_tf.models.series_model import SeriesSpec, pack_arrays_graph
from ich_tf.models.slice_model import with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras

VERSION = 1
KIND = "end_to_end"


@dataclasses.dataclass(frozen=True)
class EndToEndSpec:
    """Description of both models, from which they are built again and fed.

    Attributes:
      network: Spec of the network over slices.
      series: Spec of the model over the network's features.
      kind: Kind of the spec, in model.json.
      version: Version of the spec's format, `VERSION`.
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
        """Names of both backbones, for messages."""
        return f"{self.network.backbone} with {self.series.backbone}"

    def build(
        self,
        *,
        weights: str = "none",
        bias: np.ndarray | None = None,
        series_bias: np.ndarray | None = None,
    ) -> keras.Model:
        """Builds both models as one.

        Args:
          weights: Initial weights of the network, as for `slice_model.build_model`.
          bias: Prior probability of each class for a slice, with whose logits training starts,
            float [6].
          series_bias: The same for a whole slab.

        Returns:
          A model of two inputs: images, uint8 or float [b, k, H, W, C] as in the records; and
          float32 [b, k, 2], the position of each slice along the normal in mm, counted from the
          first slice, and 1 for a slice, 0 for none. Its output is float32 logits [b, 1 + k, 6], as
          from `series_model.build_series_model`.
        """
        network = with_features(self.network.build(weights=weights, bias=bias))
        series = self.series.build(bias=series_bias)
        images = keras.Input((None, *self.network.record_shape), name="images")
        places = keras.Input((None, 2), name="places")
        flat = FlattenSlices(name="flatten", dtype="float32")(images)
        packed = PackSlices(name="pack_slices", dtype="float32")([network(flat), places])
        return keras.Model([images, places], series(packed), name="ich_end_to_end")


def parts(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Takes a model apart.

    Args:
      model: Result of `EndToEndSpec.build`; its parts share its weights.

    Returns:
      The network over slices, with its logits alone, and the model over series.
    """
    network, series = (layer for layer in model.layers if isinstance(layer, keras.Model))
    logits, _ = network.layers[-1].input
    return keras.Model(network.input, logits, name="ich_network"), series


def network_parts(
    model: keras.Model,
) -> tuple[keras.Model, keras.layers.Layer, keras.Model]:
    """Takes a model apart for a training that computes the parts one after the other.

    Args:
      model: Result of `EndToEndSpec.build`; its parts share its weights.

    Returns:
      The network over slices, [n, H, W, C] -> float32 [n, 6 + F], as `slice_model.with_features`;
      the `PackSlices` behind it; and the model over series.
    """
    network, series = (layer for layer in model.layers if isinstance(layer, keras.Model))
    (pack,) = (layer for layer in model.layers if isinstance(layer, PackSlices))
    return network, pack, series


@keras.saving.register_keras_serializable(package="ich_tf")
class FlattenSlices(keras.layers.Layer):  # type: ignore[misc]
    """[b, k, H, W, C] of any type -> [b * k, H, W, C] of the same."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Moves the slices into the batch."""
        return tf.reshape(images, [-1, *images.shape[2:]])


@keras.saving.register_keras_serializable(package="ich_tf")
class PackSlices(keras.layers.Layer):  # type: ignore[misc]
    """Outputs [b * k, 6 + F] and places [b, k, 2] -> packed slabs [b, k, F + 8]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Packs the outputs of a network with the places of the slices."""
        outputs, places = inputs
        shape = tf.shape(places)
        outputs = tf.reshape(outputs, [shape[0], shape[1], outputs.shape[-1]])
        logits, features = outputs[..., :NUM_CLASSES], outputs[..., NUM_CLASSES:]
        return pack_arrays_graph(features, logits, places[..., 0], places[..., 1])
