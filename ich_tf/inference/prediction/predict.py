"""Prediction of DICOM files: a submission, and a summary of each series.

Files are read by the modules that conversion uses (`dicom`, `windows`), so that a model reads the
same images as in training. Workers decode while the model computes; predictions are stored in a
database on the disk, so that memory does not grow with the files and a killed run continues.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from ich_tf.dicom.choice import ALL_SERIES, SeriesChoice
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.listing import SourceListing, list_sources
from ich_tf.dicom.reasons import Reason, quarantine_path
from ich_tf.dicom.sources import Source, stamps_sha256
from ich_tf.errors import InputError, NothingToPredictError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.hardware import choose_inference_hardware
from ich_tf.inference.masks.image_masks import decode_bits, encode_bits
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.masks.volumes import series_volumes
from ich_tf.inference.postprocessing.abstention import Abstention
from ich_tf.inference.postprocessing.volume_error import VolumeError
from ich_tf.inference.prediction import submission
from ich_tf.inference.prediction.dicom_results import prepare_dicom_results, write_dicom_results
from ich_tf.inference.prediction.heat_map_pictures import draw_heat_maps, heatmaps_dir
from ich_tf.inference.prediction.mask_files import masks_dir, require_writer, write_masks
from ich_tf.inference.prediction.model_image import ModelSlice
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.result import PredictionResult
from ich_tf.inference.prediction.series_summary import csv_line, write_series_csv, write_series_json
from ich_tf.inference.prediction.store import PredictionStore, StoredPrediction, Volumes
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.files import remove_temporaries, remove_temporaries_of, write_parts
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.progress import Tracker
from ich_tf.runtime.writing import writing

# Stored outputs of another version are computed again.
_OUTPUTS_VERSION = 5
_LOG = logging.getLogger(__name__)


def predict(config: PredictConfig, predictor: Predictor | None = None) -> PredictionResult:
    """Predicts every readable slice and writes the submission.

    A call with the same files, model and submission continues a killed one.

    Args:
      config: Files, model and what to write.
      predictor: Model of `config.work_dir`, for callers that predict again and again; None to load
        it.

    Raises:
      InputError: If there is no model, no readable slice, the sample cannot be read, another run
        writes the submission, or masks are asked for that the model does not give.
    """
    require_writer(config.masks)
    prepare_dicom_results(config)
    listing = list_sources(config.dicom_dir, _own_files(config))
    if config.sample_path is not None:
        for _ in submission.sample_ids(config.sample_path):
            pass  # an invalid sample is refused before hours of work, not after
        _LOG.info("ids and order as in %s", config.sample_path)
    predictor = predictor or load_configured(config)
    if config.masks != "none" and MaskNetwork.of(predictor) is None:
        raise InputError(
            f"--masks={config.masks}: the model in {config.work_dir} gives no masks. Train one "
            "with --segmentation, or predict without --masks."
        )
    path = config.submission_path
    with FolderLock(path.parent, "Or give another --out_csv.", name=f".{path.stem}.lock"):
        # Of a run that was killed.
        for own in _own_files(config):
            remove_temporaries_of(own)
        for folder in filter(Path.is_dir, (heatmaps_dir(path), masks_dir(path))):
            remove_temporaries(folder)
        _unchecked(path).unlink(missing_ok=True)
        return _predict(config, listing, predictor)


def load_configured(config: PredictConfig) -> Predictor:
    """Loads the model of a config on the hardware that there is.

    Raises:
      InputError: If there is none.
    """
    hardware = choose_inference_hardware(config.mixed_precision)
    return load_predictor(
        config.work_dir,
        hardware.strategy,
        calibrated=config.calibrated,
        precision=hardware.precision,
    )


def _own_files(config: PredictConfig) -> list[Path]:
    """Files that an earlier run with the same flags may have left among the inputs."""
    path = config.submission_path
    ends = (path.suffix, "_series.csv", "_series.json", "_rejected.csv")
    files = [path.with_name(f"{path.stem}{end}") for end in ends]
    results = [Path(config.dicom_results)] if config.dicom_results else []
    given = filter(None, [config.sample_path])
    return [*files, heatmaps_dir(path), masks_dir(path), *results, *given]


def _predict(
    config: PredictConfig, listing: SourceListing, predictor: Predictor
) -> PredictionResult:
    path, choice = config.submission_path, _choice(config)
    masks = MaskNetwork.of(predictor)
    database = path.with_name(f".{path.stem}.partial.sqlite")
    with writing(database, sqlite3.Error):
        fingerprint = _fingerprint(listing.sources, predictor, choice, masks)
        store = PredictionStore.open(database, fingerprint)
        finished = False
        try:
            with LocalExecutor(config.num_workers) as executor:
                reader = Reader(listing.sources, predictor, executor, store, choice)
                predict_files(reader, config.batch_size, masks)
                result = _write(config, listing, reader, store, with_masks=masks is not None)
            finished = True
        except NothingToPredictError:
            finished = True  # another run would find the same
            raise
        finally:
            store.close(remove=finished)
    return result


def predict_files(reader: Reader, batch_size: int, masks: MaskNetwork | None = None) -> None:
    """Predicts the files that the store of a reader does not hold yet.

    Args:
      reader: Reader of the files.
      batch_size: Number of slices a batch.
      masks: Networks that give masks; None for none.
    """
    store = reader.store
    groups = reader.groups()
    tracker = Tracker(len(reader.sources), "predict", "file", done=store.num_done())
    batch: list[ModelSlice] = []
    # Number of slices read up to the end of a group, and the files of the group.
    read_groups: deque[tuple[int, list[int]]] = deque()
    num_read = 0

    def predict_batch() -> None:
        # One shape, one trace: the last batch is padded with zeros, and their outputs are dropped.
        images = np.stack([slice_.image for slice_ in batch])
        padding = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
        images = np.pad(images, padding)
        outputs = reader.predictor.outputs(images)
        encoded = [b""] * len(batch)
        if masks is not None:
            encoded = [
                encode_bits(bits)
                for bits in masks.bits(images, [(each.header, each.crop) for each in batch])
            ]
        store.add(
            StoredPrediction(
                slice_.source,
                reader.image_id(slice_),
                slice_.header,
                row,
                mask=mask,
                brain_mm2=slice_.brain_mm2,
            )
            for slice_, row, mask in zip(batch, outputs, encoded, strict=False)
        )
        batch.clear()

    def mark_done() -> None:
        """Marks the groups whose slices have all been predicted."""
        while read_groups and read_groups[0][0] <= num_read - len(batch):
            _, sources = read_groups.popleft()
            store.mark_done(sources)
            tracker.update(len(sources))

    remaining = (group for group in groups if not store.is_done(group.sources))
    for group, slices, errors in reader.read(remaining):
        for source, frame, error in errors:
            store.reject(source, frame, error.reason.value, str(error))
        for slice_ in slices:
            batch.append(slice_)
            num_read += 1
            if len(batch) == batch_size:
                predict_batch()
        read_groups.append((num_read, group.sources))
        mark_done()
    if batch:
        predict_batch()
    mark_done()
    tracker.close()


def _choice(config: PredictConfig) -> SeriesChoice:
    """Rule by which series are chosen. A sample names its images, of whatever series."""
    if config.sample_path is not None and config.series == "best":
        return ALL_SERIES
    return SeriesChoice.parse(config.series)


def _fingerprint(
    sources: Sequence[Source],
    predictor: Predictor,
    choice: SeriesChoice,
    masks: MaskNetwork | None,
) -> str:
    """Hashes everything that the outputs of the predictor depend on."""
    parts = [
        predictor.sha256,
        predictor.postprocessing.flip,
        stamps_sha256(sources),
        choice.text,
        predictor.precision,
        None if masks is None else masks.fingerprint,
        _OUTPUTS_VERSION,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(
    config: PredictConfig,
    listing: SourceListing,
    reader: Reader,
    store: PredictionStore,
    *,
    with_masks: bool,
) -> PredictionResult:
    path = config.submission_path
    rejected_path = path.with_name(f"{path.stem}_rejected.csv")
    csv_path = path.with_name(f"{path.stem}_series.csv")
    json_path = csv_path.with_suffix(".json")
    if not store.count("slices"):
        name, reason, message = next(_rejected(listing, store))
        reasons = Counter(code for _, code, _ in _rejected(listing, store))
        if store.layout.num_not_chosen()[0]:
            raise NothingToPredictError(
                f"{config.dicom_dir}: no series is chosen by --series={config.series}; the first "
                f"file, {name}: {reason}, {message}",
                reasons,
            )
        raise NothingToPredictError(
            f"{config.dicom_dir}: none of {len(listing)} files is an axial head CT slice; the "
            f"first, {name}: {reason}, {message}",
            reasons,
        )
    predictor, postprocessing = reader.predictor, reader.predictor.postprocessing
    _finish(store, predictor, config.prevalence)
    num_prior = _write_submission(config, store, predictor)
    volumes_of = store.volumes if with_masks else None
    abstention = _abstention(config, predictor)
    num_series, codes = write_series_csv(
        csv_path,
        store.by_series("probabilities"),
        postprocessing,
        volumes_of,
        abstention,
        predictor.supervision,
    )
    if codes:
        _LOG.warning(
            "series with warnings, of %d: %s; %s says what they mean",
            *(num_series, ", ".join(f"{codes[code]} {code}" for code in codes), json_path.name),
        )
    write_series_json(
        json_path,
        store.by_series("probabilities"),
        [source.shown for source in listing.sources],
        postprocessing,
        model_sha256=predictor.sha256,
        prevalence=config.prevalence,
        volumes_of=volumes_of,
        abstention=abstention,
        supervision=predictor.supervision,
    )
    rows = map(csv_line, _rejected(listing, store))
    write_parts(rejected_path, chain([csv_line(("path", "reason", "message"))], rows))
    num_heatmaps = draw_heat_maps(config, reader) if config.heatmaps else 0
    num_masks = 0 if config.masks == "none" else write_masks(config.masks, path, reader)
    dicom_results, not_filed = write_dicom_results(config, reader)
    num_not_chosen, num_series_not_chosen = store.layout.num_not_chosen()
    if num_not_chosen:
        _LOG.info(
            "--series=%s leaves out %d slices of %d series, which %s lists as %s; --series=all "
            "predicts them",
            *(config.series, num_not_chosen, num_series_not_chosen, rejected_path.name),
            Reason.SERIES_NOT_CHOSEN.value,
        )
    return PredictionResult(
        submission=path,
        series_csv=csv_path,
        series_json=json_path,
        rejected=rejected_path,
        postprocessing=postprocessing.describe(),
        num_slices=store.count("slices"),
        num_series=num_series,
        num_rejected=len(listing.rejections) + store.count("rejected"),
        num_not_chosen=num_not_chosen,
        num_prior=num_prior,
        num_heatmaps=num_heatmaps,
        num_masks=num_masks,
        dicom_results=dicom_results,
        not_filed=not_filed,
        supervision=predictor.supervision,
    )


def _abstention(config: PredictConfig, predictor: Predictor) -> Abstention | None:
    """Thresholds of abstention; None at another prevalence, which they were not fitted for."""
    abstention = predictor.postprocessing.abstention
    if abstention is not None and config.prevalence:
        _LOG.warning(
            "--prevalence moves the probabilities that abstention decides by: no series is "
            "decided. Its miss rate does not depend on the prevalence; predict without the option"
        )
        return None
    return abstention


def _rejected(listing: SourceListing, store: PredictionStore) -> Iterator[tuple[str, str, str]]:
    """Name, reason code and message of each input that was not read."""
    for rejection in listing.rejections:
        yield rejection.path, rejection.reason, rejection.message
    for source, frame, reason, message in store.rejected():
        yield quarantine_path(listing.sources[source].shown, frame), reason, message
    for source, frame, message in store.layout.not_chosen():
        name = quarantine_path(listing.sources[source].shown, frame)
        yield name, Reason.SERIES_NOT_CHOSEN.value, message


def _finish(store: PredictionStore, predictor: Predictor, prevalence: float) -> None:
    """Turns the stored outputs into probabilities, series by series."""
    for members in store.by_series():
        z_mm = np.array(places_along([slice_.header for slice_ in members]))
        outputs = np.stack([slice_.values for slice_ in members])
        probabilities, whole = predictor.series_probabilities(outputs, z_mm, prevalence)
        store.finish(
            [
                replace(slice_, values=row, z_mm=float(z), whole=whole)
                for slice_, row, z in zip(members, probabilities, z_mm, strict=True)
            ]
        )
        if members[0].mask:
            errors = predictor.postprocessing.volume_errors
            store.add_volumes(members[0].header, _volumes(members, errors))


def _volumes(members: Sequence[StoredPrediction], errors: Sequence[VolumeError | None]) -> Volumes:
    """Volumes of a series, by kind and class."""
    bits = [decode_bits(slice_.mask) for slice_ in members]
    return series_volumes(bits, [slice_.header for slice_ in members], errors).by_kind()


def _unchecked(path: Path) -> Path:
    """Where a submission is written until it is known to be as its sample asks."""
    return path.with_name(f".{path.name}.unchecked")


def _write_submission(config: PredictConfig, store: PredictionStore, predictor: Predictor) -> int:
    """Writes the submission in the order of the sample, without one in that of the files.

    Returns:
      Number of images of the sample without a readable file.
    """
    path, sample = config.submission_path, config.sample_path
    missing: list[str] = []
    number = 0

    def find(image_id: str) -> np.ndarray:
        nonlocal number
        number += 1
        probabilities = store.find(image_id)
        if probabilities is None:
            missing.append(image_id)
            return predictor.prior_at(config.prevalence)
        return probabilities

    if sample is None:
        submission.write_submission(path, submission.image_row_ids(store.image_ids()), find)
        return 0
    written = _unchecked(path)
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
