"""The graph of an exported model: Hounsfield units in, calibrated probabilities and masks out.

The graph assembles the `*_graph` functions beside the NumPy code of prediction (`windows`,
`records.neighbours`, `models.series_model`, `postprocessing/`) around the Keras models. It computes
in float64 where prediction does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from ich_tf.inference.forward import NetworkOutputs
from ich_tf.inference.masks.image_masks import image_bits_graph
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.postprocessing.mixture import mix_logits_graph
from ich_tf.inference.series_predictor import SeriesPredictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.models.series_model import pack_arrays_graph, turned_series_graph
from ich_tf.models.slice_model import with_features
from ich_tf.records.neighbours import neighbour_places_graph
from ich_tf.runtime.keras2 import keras
from ich_tf.windows import (
    apply_windows_graph,
    preset_windows,
    quantize_hu_graph,
    resize_hu_graph,
)


class ServingModel(tf.Module):  # type: ignore[misc]
    """A predictor as one TensorFlow graph.

    Attributes:
      needs_series: Whether a call takes all slices of one series with their positions; otherwise a
        call takes any slices.
      has_series_output: Whether the graph also returns probabilities of the series as a whole.
      masks: Networks that give the masks; None where no network segments.
    """

    def __init__(self, predictor: Predictor, prevalence: float = 0.0) -> None:
        """Takes over the variables of a predictor.

        Args:
          predictor: Models and postprocessing.
          prevalence: Share of slices with a bleed that the probabilities are to hold for, in
            (0, 1); 0 keeps that of the validation patients.
        """
        super().__init__(name="ich_tf")
        self._predictor = predictor
        self._postprocessing = predictor.postprocessing
        self._prevalence = prevalence
        self.needs_series = (
            predictor.neighbours > 1
            or self._postprocessing.smoothing_mm > 0
            or isinstance(predictor, SeriesPredictor)
        )
        self.has_series_output = isinstance(predictor, SeriesPredictor) and not prevalence
        # Variables alone: Keras would add descriptions of its layers, which a graph does not need.
        self._variables = [list(member.model.variables) for member in predictor.members]
        self._variables += [
            list(member.segmenter.variables)
            for member in predictor.members
            if member.segmenter is not None
        ]
        self.masks = MaskNetwork.of(predictor)
        self._networks: list[keras.Model] = []
        if isinstance(predictor, SeriesPredictor):
            self._variables += [list(loaded.model.variables) for loaded in predictor.models]
            self._networks = [with_features(member.model) for member in predictor.members]

    def function(self, *, masks: bool = False) -> Any:
        """Makes the function from the tensors that `inputs` describes to outputs by name.

        Args:
          masks: Whether the masks are among the outputs, where the model has any.
        """
        predict = self._predict_series if self.needs_series else self._predict_slices
        return tf.function(partial(predict, masks=masks))

    @property
    def inputs(self) -> list[tf.TensorSpec]:
        """Types and shapes of the arguments of the function."""
        hu = tf.TensorSpec([None, None, None], tf.float32, name="hu")
        z_mm = tf.TensorSpec([None], tf.float32, name="z_mm")
        return [hu, z_mm] if self.needs_series else [hu]

    def _predict_slices(self, hu: tf.Tensor, *, masks: bool) -> dict[str, tf.Tensor]:
        images = self._images(hu)
        logits = self._slice_logits(images)
        probabilities = self._postprocessing.probabilities_graph(logits, None, self._prevalence)
        by_slice = {"probabilities": tf.cast(probabilities, tf.float32)}
        return by_slice | self._mask_outputs(images, hu) if masks else by_slice

    def _predict_series(
        self, hu: tf.Tensor, z_mm: tf.Tensor, *, masks: bool
    ) -> dict[str, tf.Tensor]:
        order = tf.argsort(z_mm, stable=True)
        hu, z_mm = tf.gather(hu, order), tf.gather(tf.cast(z_mm, tf.float64), order)
        images = self._images(hu)
        count = self._predictor.neighbours
        places = neighbour_places_graph(tf.shape(images)[0], count)
        images = tf.concat([tf.gather(images, places[:, i]) for i in range(count)], axis=-1)
        outputs = {}
        if isinstance(self._predictor, SeriesPredictor):
            rows = self._series_logits(self._predictor, images, tf.cast(z_mm, tf.float32))
            logits = [group[1:] for group in rows]
            if self.has_series_output:
                whole = self._postprocessing.series_probabilities_graph([row[:1] for row in rows])
                outputs["series"] = tf.cast(whole[0], tf.float32)
        else:
            logits = self._slice_logits(images)
        probabilities = self._postprocessing.probabilities_graph(logits, z_mm, self._prevalence)
        by_slice = {"probabilities": tf.cast(probabilities, tf.float32)}
        if masks:
            by_slice |= self._mask_outputs(images, hu)
        back = tf.argsort(order)
        return outputs | {name: tf.gather(values, back) for name, values in by_slice.items()}

    def _mask_outputs(self, images: tf.Tensor, hu: tf.Tensor) -> dict[str, tf.Tensor]:
        """Masks of slices: `mask_probabilities`, and `masks` of the pixels of `hu`."""
        if self.masks is None:
            return {}
        values = self.masks.probabilities_graph(images)
        rows, columns = tf.shape(hu)[1], tf.shape(hu)[2]
        bits = image_bits_graph(values, self.masks.thresholds, rows, columns)
        return {"mask_probabilities": values, "masks": bits}

    def _images(self, hu: tf.Tensor) -> tf.Tensor:
        """Converts Hounsfield units [n, h, w] to images as records hold them, float32 [n, H, W, C].

        Images of stored Hounsfield units have one channel, windowed ones a channel a window.
        """
        size = self._predictor.record_shape[0]
        stored = quantize_hu_graph(resize_hu_graph(tf.cast(hu, tf.float64), size))
        if self._predictor.stored_hu:
            return tf.cast(stored[..., None], tf.float32)
        return apply_windows_graph(stored, preset_windows(self._predictor.windows))

    def _slice_logits(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Logits by each group: images [n, H, W, neighbours * C] -> g tensors, float64 [n, 6]."""
        logits = [
            tf.cast(self._forward(member.model, member.select_slices(images)), tf.float64)
            for member in self._predictor.members
        ]
        return self._predictor.by_group_graph(logits)

    def _forward(self, model: keras.Model, images: tf.Tensor) -> tf.Tensor:
        """Computes a network's outputs, with `flip` the mean with those of the mirror images."""
        outputs = model(images, training=False)
        if self._postprocessing.flip:
            outputs = (outputs + model(images[:, :, ::-1], training=False)) / 2
        return outputs

    def _series_logits(
        self, predictor: SeriesPredictor, images: tf.Tensor, z_mm: tf.Tensor
    ) -> list[tf.Tensor]:
        """`SeriesPredictor.series_logits` of the images of a series, sorted by position.

        Returns:
          For each group float64 [1 + n, 6]: logits of the series as a whole, then of its slices.
        """
        logits: list[list[tf.Tensor]] = [[] for _ in predictor.models]
        for number, (member, network, axes) in enumerate(
            zip(predictor.members, self._networks, predictor.axes, strict=True)
        ):
            outputs = NetworkOutputs.split(self._forward(network, member.select_slices(images)))
            features = outputs.features if axes is None else axes.map_graph(outputs.features)
            values = NetworkOutputs(outputs.logits, features)
            for loaded, by_network in zip(predictor.models, logits, strict=True):
                if number in loaded.reads:
                    rows = _read_series(loaded.model, values, z_mm, reverse=loaded.spec.reverse)
                    by_network.append(tf.cast(rows, tf.float64))
        return predictor.by_group_graph(
            [mix_logits_graph(rows, [1 / len(rows)] * len(rows)) for rows in logits]
        )


def _read_series(
    model: keras.Model, values: NetworkOutputs, z_mm: tf.Tensor, *, reverse: bool
) -> tf.Tensor:
    """Computes a series model's logits, with `reverse` the mean of both directions.

    Args:
      model: Model over series.
      values: Logits and features of the slices, sorted by position, float32 [n, 6] and [n, d].
      z_mm: Positions of the slices, rising, mm, float32 [n].
      reverse: Whether the model was trained on reversed series, too.

    Returns:
      float32 [1 + n, 6]: logits of the series as a whole, then of its slices.
    """
    offset = z_mm - z_mm[0]
    packed = pack_arrays_graph(
        values.features[None], values.logits[None], offset[None], tf.ones_like(offset)[None]
    )
    logits = model(packed, training=False)[0]
    if reverse:
        backward = model(turned_series_graph(packed), training=False)[0]
        logits = (logits + tf.concat([backward[:1], backward[:0:-1]], axis=0)) / 2
    return logits
