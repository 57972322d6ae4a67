"""Records with labels of exams and unknown ones, made of records whose slices are all labelled."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.records.data_files import index_path
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.example import decode, encode
from ich_tf.records.schema import EXAM_SCHEMA_VERSION, SliceRecord
from ich_tf.records.shard_index import index_lines
from ich_tf.records.tfrecord import frame, read_records
from ich_tf.runtime.files import file_sha256

# Labels of the slices [n, 6] and series key -> those to keep, with NaN where unknown, and the
# exam's [6].
Relabel = Callable[[np.ndarray, str], tuple[np.ndarray, np.ndarray]]


def exams_alone(labels: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The exam's labels follow from those of its slices, which are forgotten."""
    return np.full(labels.shape, np.nan), exam_of_slices(labels)


def all_labelled(labels: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
    """All labels are kept, in records that could hold unknown ones."""
    return labels, exam_of_slices(labels)


def a_third_labelled(labels: np.ndarray, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Slices of one exam of three are labelled; of them `epidural` is unknown."""
    if sum(key.encode()) % 3:
        return exams_alone(labels, key)
    kept = labels.astype(float)
    kept[:, 0] = np.nan
    return kept, exam_of_slices(kept)


def with_exams(data_dir: Path, folder: Path, relabel: Relabel = exams_alone) -> Path:
    """Copies a conversion and relabels each of its series."""
    shutil.copytree(data_dir, folder, dirs_exist_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["schema_version"] = EXAM_SCHEMA_VERSION
    manifest["config"].update(label_level="auto", schema_version=EXAM_SCHEMA_VERSION)
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        records = map(decode, read_records(path))
        series = itertools.groupby(records, lambda record: record.series_key)
        changed = [
            record for key, group in series for record in _relabelled(list(group), key, relabel)
        ]
        framed = [frame(encode(record)) for record in changed]
        path.write_bytes(b"".join(framed))
        index_path(path).write_text(index_lines(map(len, framed)))
        shard.update(
            num_bytes=path.stat().st_size,
            sha256=file_sha256(path),
            label_counts=np.sum([[0] * 6, *(record.labels for record in changed)], axis=0).tolist(),
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _relabelled(records: list[SliceRecord], key: str, relabel: Relabel) -> list[SliceRecord]:
    labels, exam = relabel(np.array([record.labels for record in records]), key)
    by_slices = np.array_equal(exam, exam_of_slices(labels), equal_nan=True)
    bits = 1 << np.arange(len(CLASSES))
    return [
        dataclasses.replace(
            record,
            labels=tuple(int(value) for value in np.nan_to_num(row)),
            label_present=int(not np.isnan(row).all()),
            labels_known=int(bits[~np.isnan(row)].sum()),
            exam_labels=tuple(float(value) for value in exam),
            label_level="" if np.isnan(exam).all() else "slice" if by_slices else "series",
            schema_version=EXAM_SCHEMA_VERSION,
        )
        for record, row in zip(records, labels, strict=True)
    ]
