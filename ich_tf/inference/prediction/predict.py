"""DICOM files -> probabilities: a submission, and a summary of each series.

Files go through the very rooms that conversion uses (dicom, crop, windows), so that a model sees
here what it saw in training. Workers decode while the model computes; what is predicted goes to a
database on the disk, so that memory does not grow with the files and a killed run goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.sources import Source, list_sources, stamps_sha256
from ich_tf.errors import InputError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.explainer import Explainer, normalized, overlay
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.inference.prediction import submission
from ich_tf.inference.prediction.reader import Reader, SeenSlice
from ich_tf.inference.prediction.series_summary import csv_line, write_series_csv, write_series_json
from ich_tf.inference.prediction.store import PredictionStore, StoredPrediction
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.files import write_parts
from ich_tf.runtime.progress import Tracker
from ich_tf.runtime.strategies import make_strategy
from ich_tf.windows import apply_windows, preset_windows

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionResult:
    """What was predicted, and where it stands.

    Attributes:
      submission, series_csv, series_json, rejected: The files that were written.
      postprocessing: What was done to the logits.
      num_slices, num_series: Predicted.
      num_rejected: Files that could not be read.
      num_prior: Images of the submission that hold the training prior, for want of a slice.
      num_heatmaps: Drawn.
    """

    submission: Path
    series_csv: Path
    series_json: Path
    rejected: Path
    postprocessing: str
    num_slices: int
    num_series: int
    num_rejected: int
    num_prior: int
    num_heatmaps: int

    def report(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.submission}: {self.num_slices} slices predicted, {self.postprocessing}",
            f"{self.series_csv}, {self.series_json.name}: {self.num_series} series",
        ]
        if self.num_rejected:
            lines.append(f"{self.rejected}: {self.num_rejected} files could not be read")
        if self.num_prior:
            lines.append(f"{self.num_prior} images without a readable file got the training prior")
        if self.num_heatmaps:
            lines.append(f"{heatmaps_dir(self.submission)}: {self.num_heatmaps} heat maps")
        return "\n".join(lines)


def heatmaps_dir(submission_path: Path) -> Path:
    """Where the heat maps of a submission go."""
    return submission_path.with_name(f"{submission_path.stem}_heatmaps")


def predict(config: PredictConfig) -> PredictionResult:
    """Predicts every readable slice and writes the submission. Killed, it goes on where it was.

    Raises:
      InputError: If there is no model, no readable slice, or the sample cannot be read.
    """
    sources = list_sources(config.dicom_dir)
    if config.sample_path is not None:
        for _ in submission.sample_ids(config.sample_path):
            pass  # refused before hours of work, not after
        _LOG.info("ids and order as in %s", config.sample_path)
    predictor = load_predictor(
        config.work_dir, make_strategy("mirrored"), calibrated=config.calibrated
    )
    path = config.submission_path
    path.parent.mkdir(parents=True, exist_ok=True)
    store = PredictionStore(
        path.with_name(f".{path.stem}.partial.sqlite"), _fingerprint(sources, predictor)
    )
    finished = False
    try:
        with LocalExecutor(config.num_workers) as executor:
            reader = Reader(sources, predictor, executor, store)
            predict_files(reader, config.batch_size)
            result = _write(config, sources, reader, store)
        finished = True
    finally:
        store.close(remove=finished)
    return result


def predict_files(reader: Reader, batch_size: int) -> None:
    """Predicts what the store lacks."""
    store = reader.store
    tracker = Tracker(len(reader.sources), "predict", "file", done=store.num_done())
    waiting: list[SeenSlice] = []
    finished: deque[tuple[int, list[int]]] = deque()
    taken = 0

    def flush() -> None:
        # One shape, one trace: the last batch is padded with zeros, and their logits are dropped.
        images = np.stack([one.image for one in waiting])
        padding = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
        outputs = reader.predictor.outputs(np.pad(images, padding))
        store.add(
            StoredPrediction(one.source, reader.image_id(one), one.header, row)
            for one, row in zip(waiting, outputs, strict=False)
        )
        waiting.clear()

    def settle(predicted: int) -> None:
        """Marks the groups of which nothing waits any more."""
        while finished and finished[0][0] <= predicted:
            _, sources = finished.popleft()
            store.mark_done(sources)
            tracker.update(len(sources))

    todo = (group for group in reader.groups() if not store.is_done(group.sources))
    for group, rejected, slices in reader.read(todo):
        for source, failed in rejected:
            store.reject(source, failed.reason, failed.message)
        for one in slices:
            waiting.append(one)
            taken += 1
            if len(waiting) == batch_size:
                flush()
        finished.append((taken, group.sources))
        settle(taken - len(waiting))
    if waiting:
        flush()
    settle(taken)
    tracker.close()


def _fingerprint(sources: Sequence[Source], predictor: Predictor) -> str:
    """Of all that logits depend on."""
    about = [predictor.sha256, predictor.postprocessing.flip, stamps_sha256(sources)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _write(
    config: PredictConfig, sources: Sequence[Source], reader: Reader, store: PredictionStore
) -> PredictionResult:
    path = config.submission_path
    rejected_path = path.with_name(f"{path.stem}_rejected.csv")
    csv_path = path.with_name(f"{path.stem}_series.csv")
    json_path = csv_path.with_suffix(".json")
    if not store.count("slices"):
        source, reason, message = next(store.rejected())
        raise InputError(
            f"{config.dicom_dir}: none of {len(sources)} files is an axial head CT slice; the "
            f"first, {sources[source].name}: {reason}, {message}"
        )
    predictor, after = reader.predictor, reader.predictor.postprocessing
    _finish(store, predictor, config.prevalence)
    num_prior = _write_submission(config, store, predictor)
    num_series = write_series_csv(csv_path, store.by_series("probabilities"), after)
    write_series_json(
        json_path,
        store.by_series("probabilities"),
        [source.name for source in sources],
        after,
        model_sha256=predictor.sha256,
        prevalence=config.prevalence,
    )
    rows = (
        csv_line((sources[source].name, reason, message))
        for source, reason, message in store.rejected()
    )
    write_parts(rejected_path, chain([csv_line(("path", "reason", "message"))], rows))
    num_heatmaps = _draw(config, reader) if config.heatmaps else 0
    return PredictionResult(
        submission=path,
        series_csv=csv_path,
        series_json=json_path,
        rejected=rejected_path,
        postprocessing=after.describe(),
        num_slices=store.count("slices"),
        num_series=num_series,
        num_rejected=store.count("rejected"),
        num_prior=num_prior,
        num_heatmaps=num_heatmaps,
    )


def _finish(store: PredictionStore, predictor: Predictor, prevalence: float) -> None:
    """Logits -> probabilities, series by series."""
    for members in store.by_series():
        normal = series.series_normal([one.header for one in members])
        z_mm = np.array([series.position_along(one.header, normal) for one in members])
        outputs = np.stack([one.values for one in members])
        probabilities, whole = predictor.series_probabilities(outputs, z_mm, prevalence)
        store.finish(
            [
                StoredPrediction(one.source, one.image_id, one.header, row, float(z), whole)
                for one, row, z in zip(members, probabilities, z_mm, strict=True)
            ]
        )


def _write_submission(config: PredictConfig, store: PredictionStore, predictor: Predictor) -> int:
    """Writes it in the sample's order, or the files'; says how many images got the prior."""
    path, sample = config.submission_path, config.sample_path
    missing: list[str] = []
    number = 0

    def find(image_id: str) -> np.ndarray:
        nonlocal number
        number += 1
        found = store.find(image_id)
        if found is None:
            missing.append(image_id)
            return predictor.prior_at(config.prevalence)
        return found

    if sample is None:
        submission.write_submission(path, submission.image_row_ids(store.image_ids()), find)
        return 0
    written = path.with_name(f".{path.name}.unchecked")
    submission.write_submission(written, submission.sample_ids(sample), find)
    try:
        if len(missing) == number:
            raise InputError(
                f"{sample}: none of its {number} images is in {config.dicom_dir}. Give the sample "
                "that belongs to these files with --sample_csv."
            )
        problems = submission.check_submission(written, sample)
        if problems:
            raise InputError(f"{path}: not as {sample} asks: {'; '.join(map(str, problems))}.")
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    if missing:
        _LOG.warning(
            "%d of %d images of the sample have no readable file and get the training prior; the "
            "first is %s",
            *(len(missing), number, missing[0]),
        )
    return len(missing)


def _draw(config: PredictConfig, reader: Reader) -> int:
    """Draws the likeliest slices of the classes that are asked for, under their heat maps."""
    store, predictor = reader.store, reader.predictor
    folder = heatmaps_dir(config.submission_path)
    folder.mkdir(exist_ok=True)
    wanted: dict[tuple[int, int], list[str]] = {}
    names = {}
    for name in config.heatmaps:
        threshold = predictor.postprocessing.threshold(SLICE, name, DEFAULT_POINT)
        for one in store.likeliest(
            name, 0.5 if threshold is None else threshold, config.max_heatmaps
        ):
            wanted.setdefault((one.source, one.header.frame), []).append(name)
            names[one.source, one.header.frame] = one.image_id
    files = {source for source, _ in wanted}
    explainer = Explainer(predictor)
    number = 0
    groups = (group for group in reader.groups() if files.intersection(group.sources))
    for _, _, slices in reader.read(groups):
        for seen in slices:
            place = seen.source, seen.header.frame
            for name in wanted.get(place, ()):
                heat = explainer(seen.image[None], name)[0]
                picture = overlay(_grey(predictor, seen.image), normalized(heat))
                file = f"{names[place].replace('/', '_')}_{name}.png"
                if not cv2.imwrite(str(folder / file), picture[..., ::-1]):
                    raise InputError(f"{folder / file}: could not be written. Check the disk.")
                number += 1
    return number


def _grey(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """A slice without its neighbours in the first of its windows, uint8 [H, W]."""
    channels = predictor.record_shape[2]
    own = image[..., predictor.neighbours // 2 * channels]
    if predictor.stored_hu:
        return apply_windows(own, preset_windows(predictor.windows[:1]))[..., 0]
    return own
