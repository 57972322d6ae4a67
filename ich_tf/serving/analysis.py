"""Decoded slices -> series with probabilities, as `ich_tf.predict` makes them; and heat maps.

Crop, windows, model and postprocessing are the functions of `inference.prediction`, called in the
same order, so that the page shows the numbers that the command writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.series_description import SeriesDescription, describe_series
from ich_tf.dicom.series_warnings import series_warnings
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.masks.volumes import series_volumes
from ich_tf.inference.prediction.model_image import seen_image
from ich_tf.inference.prediction.series_summary import summarize
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.records.neighbours import neighbour_places
from ich_tf.serving.decoding import DecodedSlice, read_hu
from ich_tf.serving.slice_masks import areas_mm2, read_mask, write_mask
from ich_tf.serving.study import DescribedSeries, LeftOutSeries, PredictedSeries, SliceFile


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A heat map: how much each pixel of a slice raises the logit of a class.

    Attributes:
      values: Share of the model's scale in 255ths, uint8 [rows, columns]; what is more is 255.
      scale: Logit that a value of 255 stands for, the same for all slices of a model.
      greatest: Greatest value of this slice, logit, which may be above the scale; 0 if no pixel
        raises the logit.
      caption: Description of the probability that it explains.
    """

    values: np.ndarray
    scale: float
    greatest: float
    caption: str


@dataclass(frozen=True, eq=False)
class ChosenSeries:
    """A series to predict.

    Attributes:
      slices: Its slices, in order.
      described: What it is.
      why: Why it was chosen.
    """

    slices: Sequence[DecodedSlice]
    described: DescribedSeries
    why: str


def split_by_study(slices: Sequence[DecodedSlice]) -> list[list[DecodedSlice]]:
    """Splits an upload by patient and study, in the order of their first files."""
    studies: dict[tuple[str, str], list[DecodedSlice]] = {}
    for slice_ in slices:
        key = slice_.header.patient_id, slice_.header.study_id
        studies.setdefault(key, []).append(slice_)
    return list(studies.values())


def choose_series(
    slices: Sequence[DecodedSlice], choice: SeriesChoice
) -> tuple[list[ChosenSeries], list[LeftOutSeries]]:
    """Chooses among the series of a study.

    Args:
      slices: Slices of one study, in the order of their files.
      choice: Rule of the choice.

    Returns:
      The chosen series, and those that are left out; both in the order of their SeriesNumbers.
    """
    groups = series.group_by_series(slices)
    found = [
        (describe_series(key[2], [slice_.header for slice_ in members]), members)
        for key, members in groups.items()
    ]
    found.sort(key=lambda pair: _series_order(pair[0]))
    why_not = choice.why_not([described for described, _ in found])
    chosen: list[ChosenSeries] = []
    left_out: list[LeftOutSeries] = []
    for (described, members), reason in zip(found, why_not, strict=True):
        terms = DescribedSeries.of(described)
        if reason:
            first = min(members, key=lambda slice_: (slice_.file, slice_.entry or 0))
            left_out.append(
                LeftOutSeries(terms, described.num_slices, reason, first.file, first.entry)
            )
        else:
            chosen.append(ChosenSeries(members, terms, _why(choice, len(found))))
    return chosen, left_out


def _series_order(described: SeriesDescription) -> tuple[float, int, str, int]:
    number = described.series_number if described.series_number >= 0 else math.inf
    return number, described.acquisition, described.uid, described.number_of_pass


def _why(choice: SeriesChoice, count: int) -> str:
    """Why a series is chosen among so many."""
    if count == 1:
        return "the only series of its study"
    return {"best": f"the best of {count} series", "all": "every series is taken"}.get(
        choice.text, f"fulfils {choice.text}"
    )


def predict_study(
    predictor: Predictor,
    chosen: Sequence[ChosenSeries],
    batch_size: int,
    on_batch: Callable[[int], None],
    keeps_ids: bool = False,
) -> list[PredictedSeries]:
    """Predicts the series of a study, and writes the masks of slices if the model gives masks.

    Args:
      predictor: Model that predicts.
      chosen: Series to predict.
      batch_size: Slices in a batch.
      on_batch: Called after each batch with the number of slices that are predicted; may raise
        to stop.
      keeps_ids: Whether slices keep their SOP instance UIDs.
    """
    groups = [one.slices for one in chosen]
    if predictor.crop != "none":
        groups = [_with_boxes(members) for members in groups]
    num_slices = sum(map(len, groups))
    images = (image for members in groups for image in _model_images(predictor, members))
    slices = [member for members in groups for member in members]
    masks = MaskNetwork.of(predictor)
    rows: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == batch_size or len(rows) + len(waiting) == num_slices:
            # Batches of one shape are traced once, as in inference.prediction.
            padding = [(0, batch_size - len(waiting)), (0, 0), (0, 0), (0, 0)]
            batch = np.pad(np.stack(waiting), padding)
            outputs = predictor.outputs(batch)
            if masks is not None:
                shown = slices[len(rows) : len(rows) + len(waiting)]
                marked = masks.bits(batch, [(slice_.header, slice_.box) for slice_ in shown])
                for slice_, mask in zip(shown, marked, strict=True):
                    write_mask(slice_.path, mask)
            rows += list(outputs[: len(waiting)])
            waiting.clear()
            on_batch(len(rows))
    predicted, first = [], 0
    for one, members in zip(chosen, groups, strict=True):
        outputs = np.stack(rows[first : first + len(members)])
        bits = [] if masks is None else [read_mask(member.path) for member in members]
        predicted.append(
            _predict_series(predictor, replace(one, slices=members), outputs, bits, keeps_ids)
        )
        first += len(members)
    return predicted


def _with_boxes(members: Sequence[DecodedSlice]) -> list[DecodedSlice]:
    """The slices of a series, each with the box of the whole series."""
    boxes = series_boxes([(slice_.header, slice_.box) for slice_ in members])
    return [replace(slice_, box=box) for slice_, box in zip(members, boxes, strict=True)]


def _predict_series(
    predictor: Predictor,
    chosen: ChosenSeries,
    outputs: np.ndarray,
    bits: Sequence[np.ndarray],
    keeps_ids: bool,
) -> PredictedSeries:
    members = chosen.slices
    headers = [member.header for member in members]
    z_mm = np.array(places_along(headers))
    probabilities = predictor.series_probabilities(outputs, z_mm)
    postprocessing = predictor.postprocessing
    volume_errors = postprocessing.volume_errors
    return PredictedSeries(
        slices=tuple(_slice_file(member, keeps_ids) for member in members),
        described=chosen.described,
        chosen=chosen.why,
        gantry_tilt_deg=members[0].header.gantry_tilt_deg,
        z_mm=tuple(z_mm.tolist()),
        probabilities=tuple(map(tuple, probabilities.slices.tolist())),
        summary={
            **summarize(
                *(probabilities.slices, probabilities.whole, postprocessing),
                postprocessing.abstention,
            ),
            "most_suspicious": dict(
                zip(CLASSES, probabilities.slices.argmax(axis=0).tolist(), strict=True)
            ),
            "volumes": series_volumes(bits, headers, volume_errors).by_kind() if bits else None,
        },
        areas_mm2=tuple(
            areas_mm2(mask, header.spacing_mm)
            for mask, header in zip(bits, headers, strict=bool(bits))
        ),
        warnings=tuple(series_warnings(headers, [member.brain_mm2 for member in members])),
    )


def _slice_file(slice_: DecodedSlice, keeps_ids: bool) -> SliceFile:
    header = slice_.header
    return SliceFile(
        name=slice_.path.name,
        rows=header.rows,
        columns=header.columns,
        position_mm=header.position_mm,
        orientation=header.orientation,
        spacing_mm=header.spacing_mm,
        box=slice_.box,
        file=slice_.file,
        entry=slice_.entry,
        frame=header.frame,
        instance=header.instance,
        # A frame's id is that of its file and its number.
        sop_instance_uid=header.image_id.partition("/")[0] if keeps_ids else "",
    )


def model_image(predictor: Predictor, hu: np.ndarray, box: Box) -> np.ndarray:
    """Makes a model's image of a slice alone: uint8 [h, w, C], or of HU uint16 [h, w, 1]."""
    windows = () if predictor.stored_hu else predictor.windows
    return seen_image(hu, box, predictor.record_shape[0], windows)


def _model_images(predictor: Predictor, members: Sequence[DecodedSlice]) -> Iterator[np.ndarray]:
    """The images of a series, each with its neighbours along the channels."""
    images: dict[int, np.ndarray] = {}
    for places in neighbour_places(len(members), predictor.neighbours).tolist():
        # Only the neighbours are kept: a whole series can take more memory than there is.
        images = {place: image for place, image in images.items() if place in places}
        for place in places:
            if place not in images:
                member = members[place]
                images[place] = model_image(predictor, member.read_hu(), member.box)
        yield np.concatenate([images[place] for place in places], axis=-1)


def slice_hu(folder: Path, slice_: SliceFile) -> np.ndarray:
    """Reads the Hounsfield units of a study's slice, float32 [rows, columns]."""
    return read_hu(folder / slice_.name, slice_.rows, slice_.columns)


def heat_map(
    predictor: Predictor,
    explainer: Explainer,
    folder: Path,
    predicted: PredictedSeries,
    number: int,
    name: str,
) -> HeatMap:
    """Draws the heat map of a slice.

    Args:
      predictor: Model to explain.
      explainer: Explainer of that model.
      folder: Folder of the study.
      predicted: Series of the slice.
      number: Index of the slice in the series, from 0.
      name: Class, one of `CLASSES`.
    """
    places = neighbour_places(len(predicted.slices), predictor.neighbours)[number]
    slices = [predicted.slices[place] for place in places]
    images = [model_image(predictor, slice_hu(folder, slice_), slice_.box) for slice_ in slices]
    stack = np.concatenate(images, axis=-1)[None]
    whole = as_slice(explainer(stack, name)[0], predicted.slices[number])
    caption = explainer.caption(
        float(explainer.network_probabilities(stack)[0, CLASSES.index(name)]),
        predicted.probabilities[number][CLASSES.index(name)],
        prevalence=False,
    )
    scale = explainer.scale()
    values = np.rint(255 * np.minimum(whole / scale, 1)).astype(np.uint8)
    return HeatMap(values, scale, float(whole.max()), caption)


def as_slice(heat: np.ndarray, slice_: SliceFile) -> np.ndarray:
    """Maps a heat map of the model's image back to the pixels of the slice.

    The inverse of `dicom.crop.cut` and `windows.store_hu`: parts that were cut away are 0.

    Args:
      heat: Heat map of the model's image, float32 [h, w].
      slice_: Slice that the image was made of.

    Returns:
      Heat map of the slice, float32 [rows, columns].
    """
    top, left, rows, columns = slice_.box or (0, 0, slice_.rows, slice_.columns)
    side = max(rows, columns)
    square = cv2.resize(heat, (side, side), interpolation=cv2.INTER_LINEAR)
    above, before = (side - rows) // 2, (side - columns) // 2
    whole = np.zeros((slice_.rows, slice_.columns), np.float32)
    inner = square[above : above + rows, before : before + columns]
    whole[top : top + rows, left : left + columns] = inner
    return whole
