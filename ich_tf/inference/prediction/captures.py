"""Pictures of the most suspicious slices of a series: outlines of masks, or heat maps of `any`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ich_tf.dicom.source_reader import SourceReader
from ich_tf.inference.explainer import Explainer, captioned, overlay
from ich_tf.inference.masks.image_masks import decode_bits, in_image
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.reporting.findings import SeriesFindings
from ich_tf.reporting.picture_text import CHARACTERS, describe_picture, enlarged
from ich_tf.windows import HU_RANGE, PRESETS, apply_windows, quantize_hu

# Maximum number of pictures of a series: 10 MB. A heat map takes ResNet50 4 s on two busy cores,
# and the results of a study are waited for.
_MAX_OUTLINES, _MAX_HEAT_MAPS = 10, 3
# Colours that people with any colour vision tell apart.
_COLOURS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "epidural": ("orange", (230, 159, 0)),
    "intraparenchymal": ("sky blue", (86, 180, 233)),
    "intraventricular": ("green", (0, 200, 140)),
    "subarachnoid": ("yellow", (240, 228, 66)),
    "subdural": ("vermilion", (240, 94, 40)),
    "any": ("white", (255, 255, 255)),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice with what is drawn on it.

    Attributes:
      place: Place of the slice in its series, from 0.
      pixels: uint8 [rows, columns, 3], with lines of text below the slice.
      text: What the lines say.
      scale: Number of pixels for each row and column of the slice.
    """

    place: int
    pixels: np.ndarray
    text: str
    scale: int


def draw_captures(
    reader: Reader,
    members: Sequence[StoredPrediction],
    findings: SeriesFindings,
    *,
    prevalence: float = 0.0,
) -> Iterator[Picture]:
    """Draws the slices at or above the operating point of `any`, the most suspicious first.

    Args:
      reader: Reader of the files.
      members: Slices of the series, along its normal.
      findings: What the model found in them.
      prevalence: Prevalence that the probabilities were moved to; 0 for none.

    Yields:
      Pictures, ten outlines or three heat maps at most.

    Raises:
      DicomError: If a file cannot be read any more.
    """
    places = findings.suspicious()[: _MAX_OUTLINES if members[0].mask else _MAX_HEAT_MAPS]
    if not places:
        return
    maps = {} if members[0].mask else _heat_maps(reader, members, places, prevalence)
    with SourceReader() as files:
        for place in places:
            slice_ = members[place]
            if not (slice_.mask or place in maps):
                continue  # its neighbours cannot be read any more
            source = reader.sources[slice_.source]
            hu = files.slice(source, slice_.header.frame).hu
            grey = apply_windows(quantize_hu(np.clip(hu, *HU_RANGE)), [PRESETS["brain"]])[..., 0]
            if slice_.mask:
                drawn, legend = _outlined(grey, decode_bits(slice_.mask))
            else:
                heat, caption = maps[place]
                drawn = overlay(grey, heat)
                legend = f"Heat map of any: attention, not segmentation. It {caption}."
            text = describe_picture(findings, place, legend)
            drawn, scale = enlarged(drawn, slice_.header.orientation)
            yield Picture(place, captioned(drawn, text, CHARACTERS), text, scale)


def _outlined(grey: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, str]:
    """A slice with the outlines of what is marked, RGB, and their legend."""
    picture = np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=-1))
    shown = []
    # Subtypes lie over `any`, which holds them all.
    for k in (ANY, *(k for k in range(len(CLASSES)) if k != ANY)):
        mask = (bits >> k & 1).astype(np.uint8)
        if mask.any():
            word, colour = _COLOURS[CLASSES[k]]
            lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, lines, -1, colour, 1)
            shown.append(f"{CLASSES[k]} {word}")
    return picture, f"Outlines: {', '.join(shown)}." if shown else "Nothing is outlined."


def _heat_maps(
    reader: Reader, members: Sequence[StoredPrediction], places: Sequence[int], prevalence: float
) -> Mapping[int, tuple[np.ndarray, str]]:
    """Heat maps of `any` in some slices, float32 [rows, columns], 0 to 1, and what they explain."""
    wanted = {(members[i].source, members[i].header.frame): i for i in places}
    sources = {source for source, _ in wanted}
    explainer = _explainer(reader.predictor)
    maps: dict[int, tuple[np.ndarray, str]] = {}
    groups = (group for group in reader.groups() if sources.intersection(group.sources))
    for _, slices, _ in reader.read(groups):
        for slice_ in slices:
            header = slice_.header
            place = wanted.get((slice_.source, header.frame))
            if place is None:
                continue
            images = slice_.image[None]
            (own,) = explainer.network_probabilities(images)
            caption = explainer.caption(
                float(own[ANY]), float(members[place].values[ANY]), prevalence=prevalence > 0
            )
            heat = np.clip(explainer(images, "any")[0] / explainer.scale(), 0, 1)
            maps[place] = in_image(heat, slice_.crop, header.rows, header.columns), caption
    return maps


@functools.lru_cache(1)
def _explainer(predictor: Predictor) -> Explainer:
    """The explainer of a model, which traces a function that a gateway needs again and again."""
    return Explainer(predictor)
