"""DICOM files -> probabilities: a submission, and a summary of each series.

Files go through the very rooms that conversion uses (dicom, windows), so that a model sees
here what it saw in training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_tf import labels, metrics, series
from ich_tf.checkpoints import ModelSpec, load_best
from ich_tf.config import PredictConfig
from ich_tf.conversion.index import IndexEntry, read_all
from ich_tf.conversion.local import LocalExecutor
from ich_tf.crop import Box
from ich_tf.dicom import Header
from ich_tf.errors import InputError
from ich_tf.inference import LogitsFn, make_logits_fn
from ich_tf.labels import CLASSES
from ich_tf.reading import ReadSlice, ReadTask, read_task
from ich_tf.shards import write_text
from ich_tf.sources import Source, list_sources
from ich_tf.strategies import make_strategy

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlicePrediction:
    """A slice and its probabilities, in the order of `CLASSES`."""

    image_id: str
    header: Header
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class _Placed:
    """A slice that could be read."""

    header: Header
    read: ReadSlice
    image: np.ndarray


@dataclass(frozen=True)
class PredictionResult:
    """What was predicted, and where it stands.

    Attributes:
      submission, series_summary, rejected: The files that were written.
      num_slices, num_series: Predicted.
      num_rejected: Files that could not be read.
      num_prior: Rows of the submission that hold the training prior, for want of a slice.
    """

    submission: Path
    series_summary: Path
    rejected: Path
    num_slices: int
    num_series: int
    num_rejected: int
    num_prior: int

    def report(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.submission}: {self.num_slices} slices predicted",
            f"{self.series_summary}: {self.num_series} series",
        ]
        if self.num_rejected:
            lines.append(f"{self.rejected}: {self.num_rejected} files could not be read")
        if self.num_prior:
            lines.append(f"{self.num_prior} images without a readable file got the training prior")
        return "\n".join(lines)


def predict(config: PredictConfig) -> PredictionResult:
    """Predicts every readable slice and writes the submission.

    Raises:
      InputError: If there is no model, no readable slice, or the sample cannot be read.
    """
    sources = list_sources(config.dicom_dir)
    sample_path = config.sample_path
    sample = None if sample_path is None else labels.read_submission(sample_path)
    if sample_path is not None:
        _LOG.info("ids and order as in %s", sample_path)
    strategy = make_strategy("mirrored")
    with strategy.scope():
        model, spec = load_best(config.work_dir)
    logits_fn = make_logits_fn(model, strategy)
    image_ids = _image_ids(sources)
    predictions: list[SlicePrediction] = []
    rejected: list[ReadSlice] = []
    windows = () if spec.stored_hu else spec.windows
    with LocalExecutor(config.num_workers) as executor:
        groups, crops = _lay_out(sources, spec, executor)
        tasks = [
            ReadTask(source, spec.record_shape[0], windows, crops.get(source, {}))
            for source in chain.from_iterable(groups)
        ]
        read = executor.map(read_task, tasks, "predict")
        images = _with_neighbours(read, groups, spec.neighbours)
        for found, probabilities in _predict_each(images, logits_fn, config.batch_size):
            if found.header is None or probabilities is None:
                rejected.append(found)
                continue
            image_id = image_ids[found.source]
            if found.header.frame:
                image_id = f"{image_id}/{found.header.frame}"
            if sample is not None and image_id not in sample.index:
                image_id = found.header.image_id
            predictions.append(SlicePrediction(image_id, found.header, probabilities))
    if not predictions:
        raise InputError(
            f"{config.dicom_dir}: none of {len(sources)} files is an axial head CT slice; the "
            f"first, {rejected[0].source.name}: {rejected[0].reason}, {rejected[0].message}"
        )
    return _write(config, predictions, rejected, sample, np.asarray(spec.prior))


def _lay_out(
    sources: Sequence[Source], spec: ModelSpec, executor: LocalExecutor
) -> tuple[list[list[Source]], dict[Source, dict[int, Box]]]:
    """Which files belong together, and what to cut out of each file's frames.

    Where the model sees a slice alone and whole, each file stands for itself; else every file is
    looked at once before the first is predicted.
    """
    if spec.neighbours == 1 and spec.crop == "none":
        return [[source] for source in sources], {}
    entries, groups = [], []
    crops: dict[Source, dict[int, Box]] = {}
    for one in read_all(sources, executor, spec.crop):
        if isinstance(one, IndexEntry):
            entries.append(one)
            crops.setdefault(one.source, {})[one.header.frame] = one.crop
    known = {one.source for one in entries}
    groups = [[source] for source in sources if source not in known]
    for members in series.group_by_series(entries).values():
        groups.append(list(dict.fromkeys(one.source for one in members)))
    return groups, crops


def _with_neighbours(
    read: Iterator[list[ReadSlice]], groups: Sequence[Sequence[Source]], neighbours: int
) -> Iterator[tuple[ReadSlice, np.ndarray | None]]:
    """Each slice with what the model sees of it: itself between those beside it in its series.

    As in training, at the series' ends the last slice stands again, and a slice that cannot be
    read is passed over.

    Args:
      read: What each file gave, in the order of `groups`.
      groups: Files of one series.
      neighbours: Slices along the channels; odd.
    """
    offsets = np.arange(neighbours) - neighbours // 2
    for group in groups:
        found = [one for _ in group for one in next(read)]
        yield from ((one, None) for one in found if one.image is None)
        slices = [
            _Placed(one.header, one, one.image)
            for one in found
            if one.header is not None and one.image is not None
        ]
        if neighbours > 1:
            slices = series.order(slices)
        for i, placed in enumerate(slices):
            places = np.clip(i + offsets, 0, len(slices) - 1)
            yield placed.read, np.concatenate([slices[place].image for place in places], axis=-1)


def _predict_each(
    images: Iterable[tuple[ReadSlice, np.ndarray | None]], logits_fn: LogitsFn, batch_size: int
) -> Iterator[tuple[ReadSlice, np.ndarray | None]]:
    """Each slice in order, with its probabilities where it could be read."""
    batch: list[tuple[ReadSlice, np.ndarray]] = []
    for one, image in images:
        if image is None:
            yield one, None
            continue
        batch.append((one, image))
        if len(batch) == batch_size:
            yield from _predict_batch(batch, logits_fn, batch_size)
            batch = []
    if batch:
        yield from _predict_batch(batch, logits_fn, batch_size)


def _predict_batch(
    batch: Sequence[tuple[ReadSlice, np.ndarray]], logits_fn: LogitsFn, batch_size: int
) -> Iterator[tuple[ReadSlice, np.ndarray]]:
    images = np.stack([image for _, image in batch])
    # One shape, one trace: the last batch is padded with zeros, and their logits are dropped.
    padding = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
    probabilities = metrics.sigmoid(logits_fn(np.pad(images, padding)))
    for (one, _), row in zip(batch, probabilities, strict=False):
        yield one, row


def _image_ids(sources: Sequence[Source]) -> dict[Source, str]:
    """RSNA's rule, the file's stem; the path within the source where stems repeat."""
    stems = [source.stem for source in sources]
    unique = len(set(stems)) == len(stems)
    return {source: source.stem if unique else source.name for source in sources}


def _write(
    config: PredictConfig,
    predictions: Sequence[SlicePrediction],
    rejected: Sequence[ReadSlice],
    sample: pd.DataFrame | None,
    prior: np.ndarray,
) -> PredictionResult:
    path = config.submission_path
    path.parent.mkdir(parents=True, exist_ok=True)
    summary_path = path.with_name(f"{path.stem}_series.csv")
    rejected_path = path.with_name(f"{path.stem}_rejected.csv")
    by_id = {one.image_id: one.probabilities for one in predictions}
    ids = list(by_id) if sample is None else list(sample.index)
    missing = [image_id for image_id in ids if image_id not in by_id]
    if missing:
        _LOG.warning(
            "%d of %d images of the sample have no readable file and get the training prior; the "
            "first is %s",
            *(len(missing), len(ids), missing[0]),
        )
    if sample is not None and len(missing) == len(ids):
        raise InputError(
            f"{config.sample_path}: none of its {len(ids)} images is in {config.dicom_dir}. Give "
            "the sample that belongs to these files with --sample_csv."
        )
    labels.write_long_csv(path, ids, np.stack([by_id.get(one, prior) for one in ids]))
    written = labels.read_submission(path)
    if list(written.index) != ids:
        raise InputError(f"{path}: read back other ids than were written. Check the disk.")
    summary = summarize_series(predictions)
    write_text(summary_path, summary.to_csv(index=False))
    rows = [(one.source.name, one.reason, one.message) for one in rejected]
    table = pd.DataFrame(rows, columns=["path", "reason", "message"])
    write_text(rejected_path, table.to_csv(index=False))
    return PredictionResult(
        submission=path,
        series_summary=summary_path,
        rejected=rejected_path,
        num_slices=len(predictions),
        num_series=len(summary),
        num_rejected=len(rejected),
        num_prior=len(missing),
    )


def summarize_series(predictions: Sequence[SlicePrediction]) -> pd.DataFrame:
    """One row a series: its length, each class's greatest probability, and the slice of it.

    `slice_<class>` counts from 0 along the series' normal.
    """
    rows = []
    for (_, study_id, series_id), members in series.group_by_series(predictions).items():
        probabilities = np.stack([one.probabilities for one in members])
        row: dict[str, Any] = {
            "study_id": study_id,
            "series_id": series_id,
            "num_slices": len(members),
        }
        for i, name in enumerate(CLASSES):
            row[name] = probabilities[:, i].max()
            row[f"slice_{name}"] = int(probabilities[:, i].argmax())
        rows.append(row)
    return pd.DataFrame(rows)
