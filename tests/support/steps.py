"""A model, its optimizer and its step on some strategy: what tests of training share."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.losses import segmentation_loss
from ich_tf.models.slice_model import build_model
from ich_tf.records.masked_labels import MaskedLabels
from ich_tf.runtime.addons import load_addons
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope
from ich_tf.runtime.strategies import make_strategy, split_batch
from ich_tf.training.config import TrainConfig
from ich_tf.training.heat_map_teacher import HeatMapTeacher
from ich_tf.training.optimizers import make_optimizer
from ich_tf.training.step import TrainingStep

RECORD_SHAPE = (32, 32, 3)
# TensorFlow 2.16 and later do without it.
needs_addons = pytest.mark.skipif(load_addons() is None, reason="no tensorflow-addons")
BATCH = 16
APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "efficientnet_b4": keras.applications.EfficientNetB4,
}


def replicas(number):
    return make_strategy("mirrored", cpu_replicas=number) if number > 1 else make_strategy("one")


def batch(seed, size=BATCH, shape=RECORD_SHAPE):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, *shape), np.uint8)
    labels = rng.integers(0, 2, (size, len(CLASSES))).astype(np.float32)
    return images, labels


def with_masks(images, labels):
    """A batch with masks of random pixels; some classes of each slice are not annotated."""
    rng = np.random.default_rng(int(images.sum()))
    mask = rng.integers(0, 1 << len(CLASSES), images.shape[:3], np.uint8)
    annotated = rng.integers(0, 1 << len(CLASSES), len(images)).astype(np.int32)
    return images, MaskedLabels(labels, mask, annotated)


def distribute(strategy, *arrays):
    return split_batch(strategy, *tf.nest.map_structure(tf.constant, arrays))


class Run:
    """From the same weights each time."""

    def __init__(
        self,
        strategy,
        *,
        backbone="tiny",
        freeze_bn=False,
        dropout=0.0,
        xla=False,
        precision="float32",
        optimizer="sgd",
        learning_rate=0.05,
        lookahead=False,
        weight_decay=0.0,
        segmentation=False,
        self_training=0.0,
        **settings,
    ):
        self.strategy = strategy
        config = TrainConfig(
            optimizer=optimizer,
            lookahead=lookahead,
            weight_decay=weight_decay,
            learning_rate=learning_rate,
            schedule="constant",
            epochs=1,
        )
        keras.utils.set_random_seed(1)

        def build():
            return build_model(
                backbone,
                RECORD_SHAPE,
                RECORD_SHAPE[0],
                freeze_bn=freeze_bn,
                bn_momentum=0.9,
                dropout=dropout,
                segmentation=segmentation,
            )

        with strategy.scope(), policy_scope(precision):
            self.model = build()
            if self_training:
                settings["teacher"] = HeatMapTeacher(build())
            self.optimizer = make_optimizer(config, 100, loss_scaling=precision == "float16")
        if segmentation:
            loss = functools.partial(segmentation_loss, self_training=self_training)
            settings = {"loss": loss, **settings}
        self.step = TrainingStep(
            self.model, self.optimizer, strategy, batch_size=BATCH, xla=xla, **settings
        )

    def steps(self, batches):
        return [float(self.step(distribute(self.strategy, *one))[0]) for one in batches]

    def weights(self):
        return [weight.numpy() for weight in self.model.weights]


def difference(left, right):
    """The largest difference of two lists of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))
