"""Weights as safetensors: exact both ways, by name and shape; nothing else is read."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from ich_tf.errors import InputError
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.export import export
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.origins import UNKNOWN, origin_of_weights
from ich_tf.models.safetensors_files import write_safetensors
from ich_tf.models.saved import Spec, save_best
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.models.variable_names import named_arrays
from ich_tf.models.weights import load_own_weights
from ich_tf.runtime.files import file_sha256, read_json
from ich_tf.runtime.keras2 import keras
from tests.support.marks import slow

SPEC = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"))
BIGRU = SeriesSpec("bigru", 16, 4, 1, 0.0, False, (0.5,) * 6)


def varied(spec: Spec) -> keras.Model:
    """A model whose variables all differ, batch statistics among them."""
    model = spec.build()
    for number, variable in enumerate(model.weights):
        variable.assign(tf.random.stateless_normal(variable.shape, [number, 2]))
    return model


def specs() -> list[Any]:
    of = {"record_shape": (32, 32, 3), "image_size": 32, "windows": SPEC.windows}
    return [
        SPEC,
        BIGRU,
        slow(SeriesSpec("transformer", 16, 8, 1, 0.0, False, (0.5,) * 6)),
        slow(SeriesSpec("attention", 16, 4, 1, 0.0, False, (0.5,) * 6)),
        ModelSpec("tiny", segmentation=True, **of),
        slow(EndToEndSpec(SPEC, SeriesSpec("bigru", 32, 4, 1, 0.0, False, (0.5,) * 6))),
        slow(ModelSpec("resnet50", **of)),
        slow(ModelSpec("efficientnet_b4", **of)),
    ]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.backbone)
def test_round_trip_is_exact(spec: Spec, tmp_path: Path) -> None:
    model = varied(spec)
    save_best(tmp_path, model, spec, epoch=1, val_loss=0.5)
    folder = export(ExportConfig(work_dir=str(tmp_path), format="safetensors"))
    path = folder / "model.safetensors"
    again = spec.build()
    assert load_own_weights(again, path) == file_sha256(path)
    arrays = load_file(path)
    assert arrays.keys() == named_arrays(model).keys() and len(arrays) == len(model.weights)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
    # The other way: from safetensors to Keras's format.
    again.save_weights(tmp_path / "again.weights.h5")
    last = spec.build()
    load_own_weights(last, tmp_path / "again.weights.h5")
    for one, other in zip(model.get_weights(), last.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()


def test_the_export_says_what_it_was_made_of(tmp_path: Path) -> None:
    save_best(tmp_path, varied(SPEC), SPEC, epoch=1, val_loss=0.5)
    config = ExportConfig(work_dir=str(tmp_path), format="safetensors", out_dir=str(tmp_path / "e"))
    path = export(config) / "model.safetensors"
    sha256 = file_sha256(tmp_path / "best.weights.h5")
    manifest = read_json(tmp_path / "e" / "manifest.json")
    assert manifest["formats"] == ["safetensors"]
    assert manifest["sha256"] == {"1/model.safetensors": file_sha256(path)}
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    about = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    assert about["weights_sha256"] == sha256 and json.loads(about["spec"])["backbone"] == "tiny"
    with pytest.raises(InputError, match="is there already"):
        export(config)


def test_initial_weights(tmp_path: Path) -> None:
    donor = varied(SPEC)
    path = tmp_path / "x.safetensors"
    write_safetensors(path, named_arrays(donor), {"spec": {"backbone": "os:system"}})
    model = SPEC.build(weights=str(path))
    for one, other in zip(donor.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert origin_of_weights(str(path)).kind == UNKNOWN


def test_of_another_model_the_first_differences_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    arrays = named_arrays(varied(SPEC))
    names = sorted(arrays)
    arrays["more"] = arrays.pop(names[0])
    arrays[names[1]] = np.zeros((7, 7), np.float32)
    write_safetensors(path, arrays, {})
    with pytest.raises(InputError, match="has the shape .7, 7., the model's .*; .* is missing; "):
        SPEC.build(weights=str(path))


def header(content: Any, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode() if not isinstance(content, bytes) else content
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<Q", 1 << 31) + b"{", "a safetensors header of 2147483648 bytes"),
        (header({"a": {"dtype": "BF16", "shape": [1]}}), "of BF16; expected F32; cast it to F32"),
        (header({"a": {"dtype": "I64", "shape": [1]}}), "of I64; expected F32"),
        (header({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40]}}), "of a shape that is none"),
        (header({"a": {"dtype": "F32", "shape": [True]}}), "of a shape that is none"),
        (header({"a": {"dtype": "F32", "shape": [-1]}}), "of a shape that is none"),
        (header({"a": {"dtype": [], "shape": [1]}}), "expected F32"),
        (header({"a": {"dtype": {}, "shape": [1]}}), "expected F32"),
        (header({"a": []}), "has neither type nor shape"),
        (header(b"{" + b'"a":' * 9), "header is no JSON"),
        (header(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    ],
)
def test_headers_of_strangers(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        SPEC.build(weights=str(path))


@pytest.mark.parametrize("offset", [4, 1 << 40])
def test_numbers_that_lie_elsewhere(offset: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model = SPEC.build()
    save_file(named_arrays(model), path)
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    content = json.loads(data[8 : 8 + size])
    first = next(iter(content.values()))
    first["data_offsets"] = [first["data_offsets"][0], first["data_offsets"][1] + offset]
    path.write_bytes(header(content, data[8 + size :]))
    with pytest.raises(ValueError, match="damaged: "):
        load_own_weights(model, path)
