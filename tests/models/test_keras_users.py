"""Models in the hands of someone who knows Keras: saved, loaded, cloned and fitted like any."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.weights import load_own_weights
from ich_tf.runtime.keras2 import keras
from tests.support.marks import slow
from tests.support.networks import KINDS

_OWN_LAYERS = (
    "one window", "neighbours", "shared stem", "hu16", "bigru", "transformer",
    "tiny with bigru", "tiny with transformer", "segmentation", "segmentation of hu16",
    "pixels alone",
)  # fmt: skip
# Every layer of this project is in one of these.
_QUICK = ("neighbours", "hu16")


@pytest.mark.parametrize(
    "name",
    [
        name if name in _QUICK else slow(name)
        for name in (*_OWN_LAYERS, "resnet50", "convnext_tiny")
    ],
)
def test_a_copy_predicts_the_same(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]()
    model, inputs = kind.spec.build(), kind.inputs(2)
    expected = tf.nest.map_structure(np.asarray, model(inputs))
    for file in ("model.keras", "model.h5"):
        model.save(tmp_path / file)
        loaded = keras.models.load_model(tmp_path / file, compile=False)
        tf.nest.map_structure(np.testing.assert_array_equal, loaded(inputs), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    tf.nest.map_structure(np.testing.assert_array_equal, clone(inputs), expected)


def test_every_layer_is_registered() -> None:
    def subclasses(layer: type) -> list[type]:
        return [layer, *(x for child in layer.__subclasses__() for x in subclasses(child))]

    own = [x for x in subclasses(keras.layers.Layer) if x.__module__.startswith("ich_tf.models")]
    assert len(own) > 15
    for layer in own:
        if not layer.__name__.startswith("_"):
            assert keras.saving.get_registered_name(layer) == f"ich_tf>{layer.__name__}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neighbours", "shared stem"])
def test_fit(name: str) -> None:
    kind = KINDS[name]()
    model = kind.spec.build()
    model.compile("sgd", loss=kind.loss)
    before = model.get_weights()
    model.fit(kind.inputs(4), kind.labels(4), batch_size=2, verbose=0)
    assert any((one != two).any() for one, two in zip(before, model.get_weights(), strict=True))


def test_weights_from_when_the_layers_were_private_are_read(tmp_path: Path) -> None:
    kind = KINDS["transformer"]()
    model = kind.spec.build()
    for variable in model.weights:
        variable.assign(tf.random.stateless_normal(variable.shape, [1, 2]))
    path = tmp_path / "best.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        (layers,) = [name for name in file if "layers" in name]
        for name in ("attention_pooling", "smoothing", "join"):
            file.move(f"{layers}/{name}", f"{layers}/private__{name}")
    other = kind.spec.build()
    load_own_weights(other, path)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
