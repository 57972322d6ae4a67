"""Heat maps of a prediction: pictures of the slices with the greatest probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ich_tf.inference.config import PredictConfig
from ich_tf.inference.explainer import Explainer, captioned, normalized, overlay
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.names import file_name
from ich_tf.windows import apply_windows, preset_windows

# Of a picture: lines of 40 characters can be read.
_LEAST_COLUMNS = 320
# Place of a file, and frame.
_Key = tuple[int, int]


def heatmaps_dir(submission_path: Path) -> Path:
    """Returns the folder of the heat maps of a submission."""
    return submission_path.with_name(f"{submission_path.stem}_heatmaps")


def draw_heat_maps(config: PredictConfig, reader: Reader) -> int:
    """Draws the slices with the greatest probabilities of some classes, under their heat maps.

    Slices at or above the operating point are drawn, without one those at 0.5 or above. Lines below
    a picture say which probability its map explains.

    Args:
      config: Config with the classes and the greatest number of heat maps for each.
      reader: Reader whose store holds the probabilities.

    Returns:
      Number of pictures.

    Raises:
      InputError: If a picture cannot be written.
    """
    store, predictor = reader.store, reader.predictor
    folder = heatmaps_dir(config.submission_path)
    folder.mkdir(exist_ok=True)
    # Classes of each slice, and their probabilities.
    classes: dict[_Key, dict[str, float]] = {}
    image_ids = {}
    for name in config.heatmaps:
        threshold = predictor.postprocessing.threshold(SLICE, name, DEFAULT_POINT)
        least = 0.5 if threshold is None else threshold
        for stored in store.likeliest(name, least, config.max_heatmaps):
            key = stored.source, stored.header.frame
            probability = float(stored.values[CLASSES.index(name)])
            classes.setdefault(key, {})[name] = probability
            image_ids[key] = stored.image_id
    files = {source for source, _ in classes}
    explainer = Explainer(predictor)
    names = picture_names({key: image_ids[key] for key in sorted(classes)})
    number = 0
    groups = (group for group in reader.groups() if files.intersection(group.sources))
    for _, slices, _ in reader.read(groups):
        for slice_ in slices:
            key = slice_.source, slice_.header.frame
            if key not in classes:
                continue
            images = slice_.image[None]
            (own,) = explainer.network_probabilities(images)
            for name, probability in classes[key].items():
                picture = overlay(
                    _grey(predictor, slice_.image), normalized(explainer(images, name)[0])
                )
                caption = explainer.caption(
                    float(own[CLASSES.index(name)]),
                    probability,
                    prevalence=config.prevalence > 0,
                )
                picture = captioned(_legible(picture), f"{name}: {caption}")
                path = folder / f"{names[key]}_{name}.png"
                _, png = cv2.imencode(".png", picture[..., ::-1])
                write_bytes(path, [png.tobytes()], sync_folder=False)
                number += 1
    return number


def picture_names(image_ids: Mapping[_Key, str]) -> dict[_Key, str]:
    """Beginnings of the names of slices' pictures: their ids as files may be named, each unique.

    Examples:
      >>> picture_names({(0, 0): "a/b", (1, 0): "a_b"})
      {(0, 0): 'a_b', (1, 0): 'a_b~2'}
    """
    names: dict[_Key, str] = {}
    taken: set[str] = set()
    for key, image_id in image_ids.items():
        text = name = file_name(image_id)
        number = 1
        while name.casefold() in taken:  # some disks do not tell capitals apart
            number += 1
            name = f"{text}~{number}"
        taken.add(name.casefold())
        names[key] = name
    return names


def _legible(picture: np.ndarray) -> np.ndarray:
    """Enlarges a picture whose caption could not be read, [H, W, 3], by a whole number."""
    factor = -(-_LEAST_COLUMNS // picture.shape[1])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _grey(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """Returns a slice without its neighbours in the first of the model's windows, uint8 [H, W]."""
    channels = predictor.record_shape[2]
    channel = image[..., predictor.neighbours // 2 * channels]
    if predictor.stored_hu:
        return apply_windows(channel, preset_windows(predictor.windows[:1]))[..., 0]
    return channel
