"""Heat maps within a step: of which class, and that they are integrated gradients."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.labels import ANY, CLASSES
from ich_tf.models.heat_maps import HeatMaps
from ich_tf.models.segmentation import classifier
from ich_tf.runtime.keras2 import keras
from ich_tf.training.heat_map_teacher import HeatMapTeacher
from tests.support.networks import slices


@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "lse"}, {"neighbours": 3, "neighbour_stem": "shared", "stored_hu": True}],
    ids=str,
)
def test_maps_are_integrated_gradients_of_the_class_whose_turn_it_is(options: dict) -> None:
    keras.utils.set_random_seed(0)
    kind = slices("tiny", segmentation=True, **options)
    model, images = kind.spec.build(), kind.inputs(2)
    labels = np.array([[0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 1]], np.float32)
    teacher, heat_maps = HeatMapTeacher(model), HeatMaps(classifier(model))
    # Every other step any; in between from class 0 on, then from class 2, then from class 4.
    for step, subtype in ((0, ANY), (1, 1), (5, 3), (9, 1)):
        maps = teacher(images, labels, tf.constant(step, tf.int64)).numpy()
        for image, of_classes, column in zip(images, maps, (subtype, ANY), strict=True):
            assert not np.delete(of_classes, column, axis=-1).any()
            assert of_classes[..., column].max() == 1 and of_classes.min() == 0
            expected = heat_maps(image[None], CLASSES[column])[0]
            found = np.corrcoef(expected.ravel(), of_classes[..., column].ravel())[0, 1]
            assert found > 0.9
