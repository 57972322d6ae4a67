"""Heat maps of a split's slices: of those that a report shows, and of those that have masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.evaluation.localization import Localization, centre_map, measure
from ich_tf.evaluation.masks import Masks, as_stored
from ich_tf.inference.explainer import Explainer, normalized
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.models.heat_maps import METHODS
from ich_tf.records.manifest import Manifest
from ich_tf.records.stored_slices import StoredSlice, read_stored

_LOG = logging.getLogger(__name__)
CENTRE = "centre of the brain"
# Of a class, at most so many slices are measured: heat maps of all would take longer than training.
_MOST_MEASURED = 200


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice to show.

    Attributes:
      source_id: Its name.
      kind: Why it is shown: `missed` or `false alarm`.
      name: Class that it is about.
      labels: 0 or 1, [6].
      probabilities: [6].
      grey: The first window, uint8 [h, w].
      heat: float32 [h, w], 0 to 1.
    """

    source_id: str
    kind: str
    name: str
    labels: np.ndarray
    probabilities: np.ndarray
    grey: np.ndarray
    heat: np.ndarray


def pick_slices(
    predictor: Predictor,
    manifest: Manifest,
    split: str,
    predictions: SlicePredictions,
    probabilities: np.ndarray,
    count: int = 8,
) -> list[Picture]:
    """The worst misses and false alarms of each class, with heat maps.

    Args:
      predictor: That made the predictions.
      manifest: Of the data.
      split: Of the data.
      predictions: Of the split.
      probabilities: [n, 6].
      count: At most so many of each kind, from as many patients.
    """
    wanted: list[tuple[str, str, int]] = []
    for i, name in enumerate(CLASSES):
        truth, prob = predictions.labels[:, i] > 0, probabilities[:, i]
        order = np.argsort(prob, kind="stable")
        for kind, rows in (
            ("missed", order[truth[order]]),
            ("false alarm", order[::-1][~truth[order[::-1]]]),
        ):
            chosen = _one_a_patient(rows, predictions.patient_key, count)
            wanted += [(kind, name, row) for row in chosen]
    ids = {predictions.source_id[row] for _, _, row in wanted}
    stored = read_stored(manifest.split_shards(split), ids, predictor.neighbours)
    explainer = Explainer(predictor)
    heats: dict[tuple[str, str], np.ndarray] = {}
    for name in CLASSES:
        own = sorted({predictions.source_id[row] for _, one, row in wanted if one == name})
        if own:
            maps = explainer(np.stack([stored[one].image for one in own]), name)
            heats.update({(name, one): heat for one, heat in zip(own, maps, strict=True)})
    return [
        Picture(
            predictions.source_id[row],
            kind,
            name,
            predictions.labels[row],
            probabilities[row],
            stored[predictions.source_id[row]].grey(manifest.windows),
            normalized(heats[name, predictions.source_id[row]]),
        )
        for kind, name, row in wanted
    ]


def measure_heat_maps(
    predictor: Predictor,
    manifest: Manifest,
    split: str,
    predictions: SlicePredictions,
    masks: Masks,
) -> list[Localization]:
    """How well each method, and the centre of the brain, finds the bleeds of each class.

    Args:
      predictor: Whose heat maps to measure.
      manifest: Of the data.
      split: Of the data.
      predictions: Of the split.
      masks: Of its slices; those without are left out.
    """
    rows = {
        name: _evenly(np.flatnonzero(predictions.labels[:, i])) for i, name in enumerate(CLASSES)
    }
    ids = {predictions.source_id[row] for chosen in rows.values() for row in chosen}
    stored = read_stored(manifest.split_shards(split), ids, predictor.neighbours)
    explainer = Explainer(predictor)
    found = []
    for i, name in enumerate(CLASSES):
        slices, truths = [], []
        for row in rows[name]:
            one = stored[predictions.source_id[row]]
            mask = masks.read(one.record.source_id)
            if mask is not None and mask[i].any():
                slices.append(one)
                truths.append(as_stored(mask[i], one.record.crop, manifest.image_size))
        if slices:
            found += _measure(explainer, name, slices, truths, manifest.windows)
    return found


def _measure(
    explainer: Explainer,
    name: str,
    slices: Sequence[StoredSlice],
    truths: Sequence[np.ndarray],
    windows: Sequence[str],
) -> list[Localization]:
    images = np.stack([one.image for one in slices])
    found = []
    for method in METHODS:
        _LOG.info("heat maps of %s in %d slices: %s", name, len(slices), method)
        found.append(measure(method, name, explainer(images, name, method), truths))
    guesses = [centre_map(one.grey(windows)) for one in slices]
    return [*found, measure(CENTRE, name, guesses, truths)]


def _evenly(rows: np.ndarray) -> np.ndarray:
    places = np.linspace(0, len(rows) - 1, min(_MOST_MEASURED, len(rows))).astype(int)
    return np.asarray(rows[places])


def _one_a_patient(rows: np.ndarray, patients: Sequence[str], count: int) -> list[int]:
    """The first rows, no two of one patient."""
    chosen: dict[str, int] = {}
    for row in rows.tolist():
        if len(chosen) == count:
            break
        chosen.setdefault(patients[row], row)
    return list(chosen.values())
