"""Fine-tuning: layers that rest at first, and learning rates by the depth of a layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ich_tf.models import end_to_end, segmentation
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.layer_names import LOGITS_LAYER
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras
from ich_tf.training.checkpoints import RunProgress
from ich_tf.training.config_parts import FineTuningConfig
from ich_tf.training.step import TrainingStep

_LOG = logging.getLogger(__name__)
# Keras layers that belong to the layer whose output they normalize.
_NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization)


def backbone_layers(model: keras.Model, spec: Any) -> list[keras.layers.Layer]:
    """Returns the layers that learn and may be pretrained: all of the network but its logits.

    Args:
      model: Network over slices, or end to end with a model over series, which is new.
      spec: Spec that it was built by.
    """
    return [
        layer
        for layer in _network(model, spec)._flatten_layers(include_self=False)
        if layer.trainable_weights
        and layer.name != LOGITS_LAYER
        and not isinstance(layer, keras.Model)
    ]


def lr_multipliers(model: keras.Model, spec: Any, config: FineTuningConfig) -> list[float]:
    """Factors of the learning rate for the trainable variables of a model.

    The network's first layer learns at `layer_decay`, the layers after it by a constant factor more
    each, and the head at `head_lr_multiplier`. The place of a layer is the number of layers with
    weights on the longest path to it; a normalization stands where the layer before it does.

    Args:
      model: Network over slices, or end to end with a model over series.
      spec: Spec that it was built by.
      config: Config of the run.
    """
    if config.layer_decay == config.head_lr_multiplier == 1:
        return [1.0] * len(model.trainable_variables)
    backbone = backbone_layers(model, spec)
    depths = layer_depths(_network(model, spec))
    deepest = max((depths[id(layer)] for layer in backbone), default=1)
    factors = {
        variable.ref(): config.layer_decay ** ((deepest + 1 - max(depths[id(layer)], 1)) / deepest)
        for layer in backbone
        for variable in layer.trainable_weights
    }
    return [
        factors.get(variable.ref(), config.head_lr_multiplier)
        for variable in model.trainable_variables
    ]


def layer_depths(model: keras.Model) -> Mapping[int, int]:
    """Numbers the layers of a functional model and of the models within it.

    Args:
      model: The model; one within it that is not functional counts as one layer.

    Returns:
      Id of each layer -> number of layers with weights on the longest path from the input to it,
      itself included.
    """
    depths: dict[int, int] = {}
    _walk(model, 0, depths)
    return depths


def _walk(model: keras.Model, start: int, depths: dict[int, int]) -> int:
    """Numbers the layers behind `start` others; returns the greatest number."""
    ends: dict[int, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            before = max((ends[id(parent)] for parent in node.parent_nodes), default=start)
            ends[id(node)] = _number(node.layer, before, depths)
    return max(ends.values(), default=start)


def _number(layer: keras.layers.Layer, before: int, depths: dict[int, int]) -> int:
    if hasattr(layer, "_nodes_by_depth"):
        return _walk(layer, before, depths)
    counts = bool(layer.weights) and not isinstance(layer, _NORMALIZATIONS)
    number = max(depths.get(id(layer), 0), before + counts)
    for part in [layer, *layer._flatten_layers(include_self=False)]:
        depths[id(part)] = number
    return number


def _network(model: keras.Model, spec: Any) -> keras.Model:
    """The network over single slices within a model; of one with a decoder, what comes before."""
    if isinstance(spec, EndToEndSpec):
        return end_to_end.parts(model)[0]
    is_segmentation = isinstance(spec, ModelSpec) and spec.segmentation
    return segmentation.encoder(model) if is_segmentation else model


class Freezing:
    """The epochs at the start of a run in which the backbone rests.

    It gets no gradients, no decay and no moments, and its batch normalisation keeps its statistics.
    After these epochs the optimizer starts anew, for the head as well: moments of 0 in later steps
    would be taken for small gradients, and moved by far too long steps.
    """

    def __init__(self, step: TrainingStep, layers: list[keras.layers.Layer], epochs: int) -> None:
        """Stores what rests.

        Args:
          step: Step of the run.
          layers: Layers that rest, as from `backbone_layers`.
          epochs: Number of epochs in which they do.
        """
        self._step, self._layers, self._epochs = step, layers, epochs
        self._rests = False

    def follow(self, progress: RunProgress) -> None:
        """Freezes or thaws the layers; call it before the steps of an epoch, and after a restore.

        Args:
          progress: Progress of the run.
        """
        rests = progress.epoch < self._epochs
        if rests != self._rests:
            for layer in self._layers:
                layer.trainable = not rests
            self._rests = rests
            self._step.follow_trainable()
            _LOG.info("epoch %d: %s", progress.epoch + 1, _STATES[rests])
        if self._epochs and (progress.epoch, progress.step) == (self._epochs, 0):
            self._step.optimizer.restart()


_STATES = {True: "the head alone learns", False: "all layers learn, and the optimizer starts anew"}
