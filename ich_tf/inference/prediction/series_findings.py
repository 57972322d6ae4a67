"""What a model found in a predicted series, and the study and images that it was found in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_tf import __version__
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.series_summary import SERIES_LEVEL, summarize, warnings_of
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.identity import SourceFile, SourceImage, SourceStudy
from ich_tf.reporting.uids import ResultUids


def series_findings(
    reader: Reader,
    members: Sequence[StoredPrediction],
    number: int = 0,
    prevalence: float = 0.0,
) -> SeriesFindings:
    """Collects what the model found in a series.

    Args:
      reader: Reader whose store holds the probabilities.
      members: Slices of the series with their probabilities, along its normal.
      number: Number of the series in its study, from 0.
      prevalence: Prevalence that the probabilities were moved to; 0 for none.

    Raises:
      DicomError: If a file cannot be read any more.
      InputError: If a file has no study.
    """
    predictor, header = reader.predictor, members[0].header
    study, images = _sources([reader.sources[slice_.source] for slice_ in members], members)
    probabilities = np.stack([slice_.values for slice_ in members])
    # Its thresholds are of the probabilities as they were calibrated.
    abstention = None if prevalence else predictor.postprocessing.abstention
    summary = summarize(probabilities, members[0].whole, predictor.postprocessing, abstention)
    volumes = reader.store.volumes(header) if members[0].mask else None
    algorithm = algorithm_of(predictor, prevalence)
    uids = ResultUids.of(
        [image.key for image in images],
        # One UID may come in several studies, series and passes.
        header.patient_id,
        header.study_id,
        header.series_id,
        # Series numbers follow from it.
        str(number),
        algorithm.sha256,
        algorithm.calibration_sha256,
        *algorithm.options.values(),
        __version__,
    )
    return SeriesFindings(
        study=study,
        images=images,
        probabilities=probabilities,
        summary={**summary, "volumes": volumes},
        algorithm=algorithm,
        uids=uids,
        number=number,
        warnings=warnings_of(members),
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
                    f"{source.shown} is a NIfTI file, which belongs to no study that an object "
                    "could be filed in. Give DICOM files, or write masks as NIfTI."
                )
            with source.open() as file:
                read = {source: SourceFile(file)}
        study = study or read[source].study(slice_.header)
        images.append(read[source].image(slice_.header))
    assert study is not None
    return study, images


def algorithm_of(predictor: Predictor, prevalence: float = 0.0) -> Algorithm:
    """Describes a model as its results name it.

    Args:
      predictor: The model.
      prevalence: Prevalence that the probabilities were moved to; 0 for none.
    """
    postprocessing = predictor.postprocessing
    options = {"Arithmetic": predictor.precision}
    if prevalence:
        options["Prevalence"] = repr(prevalence)
    return Algorithm(
        description=predictor.describe(),
        sha256=predictor.sha256,
        calibration_sha256=postprocessing.sha256,
        postprocessing=postprocessing.describe(),
        slice_thresholds={name: postprocessing.threshold(SLICE, name) for name in CLASSES},
        series_thresholds={name: postprocessing.threshold(SERIES_LEVEL, name) for name in CLASSES},
        options=options,
    )
