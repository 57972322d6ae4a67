"""DICOM objects of a prediction: what archives file in the studies of the images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_tf import __version__
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import DicomError
from ich_tf.errors import InputError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.series_summary import SERIES_LEVEL, summarize
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.identity import SourceFile, SourceImage, SourceStudy
from ich_tf.reporting.uids import ResultUids
from ich_tf.runtime.files import write_bytes

if TYPE_CHECKING:
    from ich_tf.dicom.sources import Source

_LOG = logging.getLogger(__name__)


def write_dicom_results(
    config: PredictConfig, reader: Reader
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the DICOM objects of all predicted series.

    Objects of an earlier run are removed: whoever sends the folder sends no old ones.

    Args:
      config: Config with the folder; an empty one writes none.
      reader: Reader whose store holds the probabilities.

    Returns:
      Paths of the files, and the reason of each series without any.
    """
    if not config.dicom_results:
        return (), ()
    folder = Path(config.dicom_results)
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("study-*-series-*.dcm"):
        earlier.unlink()
    written: list[Path] = []
    reasons: list[str] = []
    for name, members, number in _series(reader):
        try:
            findings = _findings(config, reader, members, number)
            for kind, data in _objects(findings):
                path = folder / f"{name}-{kind}.dcm"
                write_bytes(path, [data])
                written.append(path)
        except (DicomError, InputError) as error:  # noqa: PERF203 - a series is minutes of work
            reasons.append(f"{name}: {error}")
            _LOG.warning("no DICOM objects of %s", reasons[-1])
    return tuple(written), tuple(reasons)


def algorithm_of(predictor: Predictor, prevalence: float = 0.0) -> Algorithm:
    """Describes a model as its results name it.

    Args:
      predictor: The model.
      prevalence: Prevalence that the probabilities were moved to; 0 for none.
    """
    postprocessing = predictor.postprocessing
    options = {"Arithmetic": predictor.precision}
    if prevalence:
        options["Prevalence"] = f"{prevalence:g}"
    return Algorithm(
        description=predictor.describe(),
        sha256=predictor.sha256,
        calibration_sha256=postprocessing.sha256,
        postprocessing=postprocessing.describe(),
        slice_thresholds={name: postprocessing.threshold(SLICE, name) for name in CLASSES},
        series_thresholds={name: postprocessing.threshold(SERIES_LEVEL, name) for name in CLASSES},
        options=options,
    )


def _series(reader: Reader) -> Iterator[tuple[str, list[StoredPrediction], int]]:
    """Name without identity, slices, and number in its study, of each series."""
    studies: dict[tuple[str, str], int] = {}
    numbers: Counter[int] = Counter()
    for members in reader.store.by_series("probabilities"):
        header = members[0].header
        study = studies.setdefault((header.patient_id, header.study_id), len(studies) + 1)
        numbers[study] += 1
        yield f"study-{study}-series-{numbers[study]}", members, numbers[study] - 1


def _findings(
    config: PredictConfig, reader: Reader, members: Sequence[StoredPrediction], number: int
) -> SeriesFindings:
    """What the model found in a series.

    Raises:
      DicomError: If a file cannot be read any more.
      InputError: If a file has no study.
    """
    predictor, header = reader.predictor, members[0].header
    study, images = _sources([reader.sources[slice_.source] for slice_ in members], members)
    probabilities = np.stack([slice_.values for slice_ in members])
    summary = summarize(probabilities, members[0].whole, predictor.postprocessing)
    volumes = reader.store.volumes(header) if members[0].mask else None
    algorithm = algorithm_of(predictor, config.prevalence)
    uids = ResultUids.of(
        [image.key for image in images],
        # One UID may come in several studies, series and passes.
        header.patient_id,
        header.study_id,
        header.series_id,
        algorithm.sha256,
        algorithm.calibration_sha256,
        *algorithm.options.values(),
        __version__,
    )
    return SeriesFindings(
        study, images, probabilities, {**summary, "volumes": volumes}, algorithm, uids, number
    )


def _sources(
    sources: Sequence[Source], members: Sequence[StoredPrediction]
) -> tuple[SourceStudy, list[SourceImage]]:
    """Study and images of a series."""
    study: SourceStudy | None = None
    images: list[SourceImage] = []
    # Slices of one file follow each other, if it has several.
    read: dict[Source, SourceFile] = {}
    for source, slice_ in zip(sources, members, strict=True):
        if source not in read:
            if is_nifti(source.name):
                raise InputError(
                    "its images are NIfTI files, which belong to no study. Give DICOM files, or "
                    "leave --dicom_results out."
                )
            with source.open() as file:
                read = {source: SourceFile(file)}
        study = study or read[source].study(slice_.header)
        images.append(read[source].image(slice_.header))
    assert study is not None
    return study, images


def _objects(findings: SeriesFindings) -> Iterator[tuple[str, bytes]]:
    """Kind and bytes of each object of a series."""
    # They need highdicom, which is asked for before hours of work.
    from ich_tf.reporting.structured_report import structured_report

    yield "report", structured_report(findings)
