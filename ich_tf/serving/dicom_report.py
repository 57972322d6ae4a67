"""Predictions of an uploaded study as DICOM: a report of a series, a picture of a slice.

No id of the files that were sent is kept, so none is written (`reporting.pseudonyms`). `attach`
puts these results into their study, where the files are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ich_tf import __version__
from ich_tf.inference.explainer import captioned, overlay
from ich_tf.labels import CLASSES
from ich_tf.reporting.algorithm import Algorithm
from ich_tf.reporting.capture import capture
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.picture_text import CHARACTERS, describe_picture, enlarged
from ich_tf.reporting.pseudonyms import Pseudonyms
from ich_tf.reporting.structured_report import cited_places, structured_report
from ich_tf.reporting.uids import ResultUids
from ich_tf.serving.answers import Model
from ich_tf.serving.study import PredictedSeries, SliceFile
from ich_tf.windows import HU_RANGE, PRESETS, apply_windows, quantize_hu

# Reads the Hounsfield units of a slice, float32 [rows, columns].
ReadHu = Callable[[SliceFile], np.ndarray]


def report(key: str, number: int, series: PredictedSeries, model: Model, read_hu: ReadHu) -> bytes:
    """Writes probabilities and volumes of a series and its slices as a structured report.

    Args:
      key: Key of the study.
      number: Index of the series in the study, from 0.
      series: Series with its predictions.
      model: Model that predicted it.
      read_hu: Function that reads a slice.
    """
    places = cited_places(_findings(key, number, series, model, (), read_hu))
    return structured_report(_findings(key, number, series, model, places, read_hu))


def heat_map_picture(
    key: str,
    number: int,
    place: int,
    series: PredictedSeries,
    model: Model,
    read_hu: ReadHu,
    heat: np.ndarray,
    name: str,
    explains: str,
) -> bytes:
    """Draws a slice in the brain window under its heat map, as a DICOM secondary capture.

    Args:
      key: Key of the study.
      number: Index of the series in the study, from 0.
      place: Index of the slice in the series, from 0.
      series: Series with its predictions.
      model: Model that the heat map explains.
      read_hu: Function that reads a slice.
      heat: Heat map of the slice, uint8 [rows, columns].
      name: Class of the heat map, one of `CLASSES`.
      explains: Description of the probability that it explains.
    """
    findings = _findings(key, number, series, model, (place,), read_hu)
    slice_ = series.slices[place]
    hu = np.clip(read_hu(slice_), *HU_RANGE)
    grey = apply_windows(quantize_hu(hu), [PRESETS["brain"]])[..., 0]
    legend = f"Heat map of {name}: attention, not segmentation. It {explains}."
    text = describe_picture(findings, place, legend, name)
    picture, scale = enlarged(overlay(grey, heat / np.float32(255)), slice_.orientation)
    return capture(
        *(findings, place, captioned(picture, text, CHARACTERS), text),
        kind=name,
        number=1 + place * len(CLASSES) + CLASSES.index(name),
        scale=scale,
    )


def _findings(
    key: str,
    number: int,
    series: PredictedSeries,
    model: Model,
    places: Iterable[int],
    read_hu: ReadHu,
) -> SeriesFindings:
    """What the model found in a series, with the images at some places alone: each is read."""
    ids = Pseudonyms(key)
    algorithm = Algorithm(
        description=model.description,
        sha256=model.sha256,
        calibration_sha256=model.calibration_sha256 or "",
        postprocessing=model.postprocessing,
        slice_thresholds=model.thresholds.slice,
        series_thresholds=model.thresholds.series,
    )
    slices = series.slices
    return SeriesFindings(
        study=ids.study(),
        images={i: ids.image(number, read_hu(slices[i]), slices[i]) for i in places},
        probabilities=np.array(series.probabilities),
        summary=series.summary,
        algorithm=algorithm,
        uids=ResultUids.of(
            (), key, str(number), algorithm.sha256, algorithm.calibration_sha256, __version__
        ),
        number=number,
        warnings=series.warnings,
    )
