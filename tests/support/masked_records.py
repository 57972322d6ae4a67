"""Records with masks, made of records without: one slice of three keeps none."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.masks.bits import pack
from ich_tf.masks.png_masks import Masks
from ich_tf.records.data_files import index_path
from ich_tf.records.example import decode, encode
from ich_tf.records.shard_index import index_lines
from ich_tf.records.tfrecord import frame, read_records
from ich_tf.runtime.files import file_sha256

ALL = (1 << len(CLASSES)) - 1


def add_masks(data_dir: Path, phantom_dir: Path, folder: Path) -> None:
    """Copies a conversion of phantoms whose images have the stored size, and adds their masks."""
    shutil.copytree(data_dir, folder, dirs_exist_ok=True)
    masks = Masks(phantom_dir / "stage_2_train_masks")
    manifest = json.loads((folder / "manifest.json").read_text())
    marked = 0
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        records = [with_mask(decode(payload), masks) for payload in read_records(path)]
        marked += sum(bool(record.mask) for record in records)
        framed = [frame(encode(record)) for record in records]
        path.write_bytes(b"".join(framed))
        index_path(path).write_text(index_lines(map(len, framed)))
        shard.update(num_bytes=path.stat().st_size, sha256=file_sha256(path))
    manifest["masks"] = {"marked": {"any": marked}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def with_mask(record, masks):
    if sum(record.source_id.encode()) % 3 == 0:
        return record
    marked = masks.read(record.source_id)
    if marked is None and any(record.labels):
        return record
    if marked is None:
        marked = np.zeros((len(CLASSES), record.height, record.width), bool)
    encoded = cv2.imencode(".png", pack(marked))[1].tobytes() if marked.any() else b""
    return dataclasses.replace(
        record, mask=encoded, annotated=ALL, lesion_mm2=tuple(marked.sum((1, 2)).astype(float))
    )
