"""Decoded slices -> series with probabilities, as `prediction` makes them; and heat maps.

The rooms are prediction's own (crop, windows, predictor, postprocessing), in its order, so that the
page shows what the command writes. Nothing here knows of requests or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.prediction.model_image import seen_image
from ich_tf.inference.prediction.series_summary import summarize
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.serving.decoding import DecodedSlice, read_hu
from ich_tf.serving.studies import FoundSeries, SlicePlace


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where the model looked in a slice.

    Attributes:
      values: uint8 [rows, columns] of the slice.
      peak: What 255 stands for, in units of the logit; 0 where nothing speaks for the class.
    """

    values: np.ndarray
    peak: float


def predict_study(
    predictor: Predictor,
    slices: Sequence[DecodedSlice],
    batch_size: int,
    on_batch: Callable[[int], None],
) -> list[FoundSeries]:
    """Predicts all series of a study.

    Args:
      predictor: The model.
      slices: In the order of their files.
      batch_size: Slices a step.
      on_batch: Told after each step how many slices are predicted; may raise to stop.
    """
    if predictor.crop != "none":
        boxes = series_boxes([(one.header, one.box) for one in slices])
        slices = [replace(one, box=box) for one, box in zip(slices, boxes, strict=True)]
    groups = list(series.group_by_series(slices).values())
    images = (image for members in groups for image in _seen(predictor, members))
    rows: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == batch_size or len(rows) + len(waiting) == len(slices):
            # One shape, one trace; as prediction does it.
            padding = [(0, batch_size - len(waiting)), (0, 0), (0, 0), (0, 0)]
            outputs = predictor.outputs(np.pad(np.stack(waiting), padding))
            rows += list(outputs[: len(waiting)])
            waiting.clear()
            on_batch(len(rows))
    found, first = [], 0
    for members in groups:
        outputs = np.stack(rows[first : first + len(members)])
        found.append(_series(predictor, members, outputs))
        first += len(members)
    return found


def _series(
    predictor: Predictor, members: Sequence[DecodedSlice], outputs: np.ndarray
) -> FoundSeries:
    after = predictor.postprocessing
    normal = series.series_normal([one.header for one in members])
    z_mm = np.array([series.position_along(one.header, normal) for one in members])
    logits = predictor.series_logits(outputs, z_mm)
    probabilities = after.probabilities(logits.slices, z_mm, [""] * len(members))
    whole = after.series_probabilities(logits.whole)
    return FoundSeries(
        slices=tuple(_place(one) for one in members),
        gantry_tilt_deg=members[0].header.gantry_tilt_deg,
        z_mm=tuple(z_mm.tolist()),
        probabilities=tuple(map(tuple, probabilities.tolist())),
        summary={
            **summarize(probabilities, whole, after),
            "most_suspicious": dict(
                zip(CLASSES, probabilities.argmax(axis=0).tolist(), strict=True)
            ),
        },
    )


def _place(one: DecodedSlice) -> SlicePlace:
    header = one.header
    return SlicePlace(
        file=one.path.name,
        rows=header.rows,
        columns=header.columns,
        position_mm=header.position_mm,
        orientation=header.orientation,
        spacing_mm=header.spacing_mm,
        box=one.box,
    )


def model_image(predictor: Predictor, hu: np.ndarray, box: Box) -> np.ndarray:
    """A slice as the model sees it, without its neighbours: uint8 [h, w, C] or uint16 [h, w, 1]."""
    windows = () if predictor.stored_hu else predictor.windows
    return seen_image(hu, box, predictor.record_shape[0], windows)


def _seen(predictor: Predictor, members: Sequence[DecodedSlice]) -> Iterator[np.ndarray]:
    """The images of a series, each with those beside it; at its ends the last one again."""
    half = predictor.neighbours // 2
    kept: dict[int, np.ndarray] = {}
    for place in range(len(members)):
        wanted = np.clip(np.arange(place - half, place + half + 1), 0, len(members) - 1).tolist()
        for other in wanted:
            if other not in kept:
                one = members[other]
                kept[other] = model_image(predictor, one.read_hu(), one.box)
        yield np.concatenate([kept[other] for other in wanted], axis=-1)
        # A series is longer than memory wants to be.
        kept = {other: kept[other] for other in set(wanted)}


def slice_hu(folder: Path, place: SlicePlace) -> np.ndarray:
    """The Hounsfield units of a slice of a study, float32 [rows, columns]."""
    return read_hu(folder / place.file, place.rows, place.columns)


def heat_map(
    predictor: Predictor,
    explainer: Explainer,
    folder: Path,
    found: FoundSeries,
    number: int,
    name: str,
) -> HeatMap:
    """Where the model looked in a slice for a class.

    Args:
      predictor: The model.
      explainer: Of the same.
      folder: Of the study.
      found: The series.
      number: Of the slice, from 0.
      name: Of the class.
    """
    half = predictor.neighbours // 2
    last = len(found.slices) - 1
    images = [
        model_image(predictor, slice_hu(folder, place), place.box)
        for other in range(number - half, number + half + 1)
        for place in (found.slices[min(max(other, 0), last)],)
    ]
    heat = explainer(np.concatenate(images, axis=-1)[None], name)[0]
    whole = as_slice(heat, found.slices[number])
    peak = float(whole.max())
    scaled = np.rint(255 * whole / peak) if peak > 0 else whole
    return HeatMap(scaled.astype(np.uint8), peak)


def as_slice(heat: np.ndarray, place: SlicePlace) -> np.ndarray:
    """A map over what the model saw -> over the slice that it saw it of.

    Undoes `store_hu` and `cut`: what was cut away is 0.

    Returns:
      float32 [rows, columns].
    """
    top, left, rows, columns = place.box or (0, 0, place.rows, place.columns)
    side = max(rows, columns)
    square = cv2.resize(heat, (side, side), interpolation=cv2.INTER_LINEAR)
    above, before = (side - rows) // 2, (side - columns) // 2
    whole = np.zeros((place.rows, place.columns), np.float32)
    inner = square[above : above + rows, before : before + columns]
    whole[top : top + rows, left : left + columns] = inner
    return whole
