"""dataset_info.json and features.json: description of the shards for tensorflow_datasets.

With them `tfds.builder_from_directory(folder)` reads the folder. They are written without
tensorflow_datasets; the layout is that of `tfds.folder_dataset.write_metadata` of version 4.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ich_tf.records.data_files import shard_name
from ich_tf.records.manifest import image_shape
from ich_tf.records.schema import EXAM_FIELDS, FEATURES, MASK_FIELDS
from ich_tf.runtime.files import json_text

TFDS_FILES = ("dataset_info.json", "features.json")
_PACKAGE = "tensorflow_datasets.core.features"
_DTYPES = {int: "int64", float: "float32"}


def tfds_files(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Text of the two files.

    Args:
      manifest: Content of manifest.json.

    Returns:
      Text of each file by its name. Empty if the shards are not numbered consecutively, as in a
      folder from which shards were removed: tensorflow_datasets finds shards by their number.
    """
    splits: dict[str, list[Mapping[str, Any]]] = {}
    for shard in manifest["shards"]:
        splits.setdefault(shard["split"], []).append(shard)
    for split, members in splits.items():
        expected = [shard_name(split, number, len(members)) for number in range(len(members))]
        if [shard["name"] for shard in members] != expected:
            return {}
    info = {
        "name": "ich_tf",
        "version": f"{manifest['schema_version']}.0.0",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "shardLengths": [str(shard["num_records"]) for shard in members],
                "numBytes": str(sum(shard["num_bytes"] for shard in members)),
            }
            for split, members in splits.items()
        ],
    }
    features = {
        name: _image(manifest["config"]) if field == "encoded" else _feature(kind, count)
        for field, (name, kind, count) in FEATURES.items()
        if (field not in MASK_FIELDS or "mask_format" in manifest["config"])
        and (field not in EXAM_FIELDS or "label_level" in manifest["config"])
    }
    content = {
        "pythonClassName": f"{_PACKAGE}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    return dict(zip(TFDS_FILES, (json_text(info), json_text(content)), strict=True))


def _feature(kind: type, count: int | None) -> dict[str, Any]:
    """Description of a feature; `count` is its number of values, None for any."""
    if count is None:
        return {
            "pythonClassName": f"{_PACKAGE}.sequence_feature.Sequence",
            "sequence": {"feature": _feature(kind, 1), "length": "-1"},
        }
    if kind is bytes:
        return {"pythonClassName": f"{_PACKAGE}.text_feature.Text", "text": {}}
    return _tensor(() if count == 1 else (count,), _DTYPES[kind], "none")


def _tensor(shape: tuple[int, ...], dtype: str, encoding: str) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_PACKAGE}.tensor_feature.Tensor",
        "tensor": {"dtype": dtype, "encoding": encoding, "shape": _shape(shape)},
    }


def _shape(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"dimensions": [str(size) for size in shape]}


def _image(config: Mapping[str, Any]) -> dict[str, Any]:
    """Description of the stored image."""
    encoding = config["encoding"]
    rows, columns, channels = image_shape(config["image_size"], config["windows"], encoding)
    if encoding == "raw":
        return _tensor((rows, columns, channels), "uint8", "bytes")
    if channels not in (1, 3):  # side by side, as in `records.encode_image`
        columns, channels = columns * channels, 1
    return {
        "pythonClassName": f"{_PACKAGE}.image_feature.Image",
        "image": {
            "shape": _shape((rows, columns, channels)),
            "dtype": "uint16" if encoding == "hu16" else "uint8",
            "encodingFormat": "jpeg" if encoding == "jpeg" else "png",
        },
    }
