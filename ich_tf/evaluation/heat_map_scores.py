"""Heat maps of a split's slices: those that the report shows, and those that have masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.localization import Localization, centre_map, measure
from ich_tf.inference.explainer import Explainer, normalized
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.masks.bits import as_stored
from ich_tf.masks.png_masks import Masks
from ich_tf.models.heat_maps import METHODS
from ich_tf.records.manifest import Manifest
from ich_tf.records.stored_slices import StoredSlice, read_stored

_LOG = logging.getLogger(__name__)
CENTRE = "centre of the brain"
# Maximum number of slices measured per class: heat maps of all would take longer than training.
_MAX_MEASURED = 200


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice of the report, with the heat map of a class.

    Attributes:
      source_id: Image id of the slice.
      kind: Error that it shows: `missed` or `false alarm`.
      name: Class of the error and of the heat map.
      labels: Labels of the slice, or of its exam where it has none of its own, [6], NaN where
        unknown.
      probabilities: Probabilities of the slice, [6].
      grey: Slice in the first window of the records, uint8 [h, w].
      heat: Heat map, float32 [h, w], 0 to 1.
      caption: Description of the probability that the heat map explains.
      of_exam: Whether the labels are those of the exam.
    """

    source_id: str
    kind: str
    name: str
    labels: np.ndarray
    probabilities: np.ndarray
    grey: np.ndarray
    heat: np.ndarray
    caption: str
    of_exam: bool = False


def pick_slices(
    predictor: Predictor,
    manifest: Manifest,
    split: str,
    predictions: SlicePredictions,
    probabilities: np.ndarray,
    count: int = 8,
    prevalence: float = 0.0,
) -> list[Picture]:
    """Picks the worst misses and false alarms of each class, and draws their heat maps.

    Args:
      predictor: Model that made the predictions.
      manifest: Manifest of the records.
      split: Split of the records.
      predictions: Predictions for the split's n slices.
      probabilities: Probabilities of the slices, [n, 6].
      count: Maximum number of slices of each class and kind, no two of one patient.
      prevalence: Prevalence that the probabilities were moved to; 0 for none.
    """
    ids = predictions.source_id
    of_exam = np.isnan(predictions.labels).all(axis=1)
    worst = {
        name: _worst(_truth(predictions, probabilities, i), probabilities[:, i], predictions, count)
        for i, name in enumerate(CLASSES)
    }
    wanted = {ids[row] for errors in worst.values() for _, row in errors}
    stored = read_stored(manifest.split_shards(split), wanted, predictor.neighbours)
    explainer = Explainer(predictor)
    own = {}
    if stored:
        # Those of all classes at once: each number of images is traced anew.
        images = np.stack([slice_.image for slice_ in stored.values()])
        own = dict(zip(stored, explainer.network_probabilities(images), strict=True))
    pictures = []
    for column, (name, errors) in enumerate(worst.items()):
        shown = sorted({ids[row] for _, row in errors})
        if not shown:
            continue
        images = np.stack([stored[source_id].image for source_id in shown])
        heats = dict(zip(shown, explainer(images, name), strict=True))
        pictures += [
            Picture(
                ids[row],
                kind,
                name,
                (predictions.exam_labels if of_exam[row] else predictions.labels)[row],
                probabilities[row],
                stored[ids[row]].grey(manifest.windows),
                normalized(heats[ids[row]]),
                explainer.caption(
                    float(own[ids[row]][column]),
                    float(probabilities[row, column]),
                    prevalence=prevalence > 0,
                ),
                bool(of_exam[row]),
            )
            for kind, row in errors
        ]
    return pictures


def _truth(predictions: SlicePredictions, probabilities: np.ndarray, column: int) -> np.ndarray:
    """Whether slices show a class, 1 or 0, or NaN where it is unknown and no error can be shown.

    Slices of an exam without the class are without it, too. Of one that has it, and has no slice
    that is known to show it, the most suspicious slice stands for the exam: if even that is missed,
    the exam is.

    Args:
      predictions: Predictions for n slices.
      probabilities: Probabilities of the slices, [n, 6].
      column: Number of the class.

    Returns:
      [n].
    """
    labels = predictions.labels[:, column]
    if not np.isnan(labels).any():
        return labels
    truth, exams = labels.copy(), metrics.hard_labels(predictions.exam_labels[:, column])
    truth[np.isnan(labels) & (exams == 0)] = 0
    for rows in rows_of(predictions.series_key).values():
        if exams[rows[0]] == 1 and not (labels[rows] == 1).any():
            unknown = rows[np.isnan(labels[rows])]
            if len(unknown):
                truth[unknown[probabilities[unknown, column].argmax()]] = 1
    return truth


def _worst(
    truth: np.ndarray, probabilities: np.ndarray, predictions: SlicePredictions, count: int
) -> list[tuple[str, int]]:
    """Kinds and rows of the worst errors of a class: the misses, then the false alarms."""
    order = np.argsort(probabilities, kind="stable")
    ranked = {
        "missed": order[truth[order] == 1],
        "false alarm": order[::-1][truth[order[::-1]] == 0],
    }
    return [
        (kind, row)
        for kind, rows in ranked.items()
        for row in _distinct_patients(rows, predictions.patient_key, count)
    ]


def measure_heat_maps(
    predictor: Predictor,
    manifest: Manifest,
    split: str,
    predictions: SlicePredictions,
    masks: Masks,
) -> list[Localization]:
    """Measures how well each method, and the centre of the brain, finds the bleeds of each class.

    Args:
      predictor: Model whose heat maps are measured.
      manifest: Manifest of the records.
      split: Split of the records.
      predictions: Predictions for the split.
      masks: Masks of the slices; slices without one are left out.

    Returns:
      One result for each class with a mask and each method, the centre of the brain last.
    """
    rows = {
        name: _evenly(np.flatnonzero(predictions.labels[:, i] == 1))
        for i, name in enumerate(CLASSES)
    }
    ids = {predictions.source_id[row] for chosen in rows.values() for row in chosen}
    stored = read_stored(manifest.split_shards(split), ids, predictor.neighbours)
    explainer = Explainer(predictor)
    results = []
    for i, name in enumerate(CLASSES):
        slices, truths = [], []
        for row in rows[name]:
            slice_ = stored[predictions.source_id[row]]
            mask = masks.read(slice_.record.source_id)
            if mask is not None and mask[i].any():
                slices.append(slice_)
                truths.append(as_stored(mask[i], slice_.record.crop, manifest.image_size))
        if slices:
            results += _measure(explainer, name, slices, truths, manifest.windows)
    return results


def _measure(
    explainer: Explainer,
    name: str,
    slices: Sequence[StoredSlice],
    truths: Sequence[np.ndarray],
    windows: Sequence[str],
) -> list[Localization]:
    images = np.stack([slice_.image for slice_ in slices])
    results = []
    for method in METHODS:
        _LOG.info("heat maps of %s in %d slices: %s", name, len(slices), method)
        results.append(measure(method, name, explainer(images, name, method), truths))
    guesses = [centre_map(slice_.grey(windows)) for slice_ in slices]
    return [*results, measure(CENTRE, name, guesses, truths)]


def _evenly(rows: np.ndarray) -> np.ndarray:
    """At most `_MAX_MEASURED` of the rows, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(_MAX_MEASURED, len(rows))).astype(int)
    return np.asarray(rows[places])


def _distinct_patients(rows: np.ndarray, patients: Sequence[str], count: int) -> list[int]:
    """The first rows, at most `count`, no two of one patient."""
    chosen: dict[str, int] = {}
    for row in rows.tolist():
        if len(chosen) == count:
            break
        chosen.setdefault(patients[row], row)
    return list(chosen.values())
