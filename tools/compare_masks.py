"""Compares a run's masks with its heat maps, by the masks of the records.

  python -m tools.compare_masks --data_dir=data/masked_tfrecords --work_dir=runs/smoke_segmentation

Both are cut at thresholds. The best one is chosen on the scored slices themselves, so that neither
has its threshold against it. Two kinds of scores: the mean of the slices with a bleed, in which the
others do not count; and all pixels of all slices together, in which what is marked without a bleed
counts, too. Heat maps are integrated gradients, cut at a share of each map's greatest value, or at
one value for all slices. --heat_maps_of takes them from another run, such as a classifier.

Exit codes: 0 done; 1 data and model do not match, or cannot be read; 2 wrong usage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags

from ich_tf.labels import CLASSES
from ich_tf.runtime import command

command.add_headings({"data_dir": "Data and models", "class_name": "Comparison"})
_DATA_DIR = command.define_path(
    "data_dir", "data/masked_tfrecords", "Folder of records with masks."
)
_WORK_DIR = command.define_path(
    "work_dir", "runs/smoke_segmentation", "Folder of the run whose masks are scored."
)
_HEAT_MAPS_OF = command.define_path(
    "heat_maps_of", "", "Folder of the run whose heat maps are scored. Empty: that of --work_dir."
)
_SPLIT = flags.DEFINE_string("split", "test", "Split of the records: test, or fold-0, fold-1, ...")
_CLASS = flags.DEFINE_enum("class_name", "any", CLASSES, "Class whose masks are compared.")
_MAX_SLICES = flags.DEFINE_integer(
    "max_slices",
    0,
    "Maximum number of slices, evenly spaced among those in which the class is annotated; 0 takes "
    "all. A heat map costs as much as 16 slices in training.",
    lower_bound=0,
)

_BATCH = 32
_SHARES = np.arange(1, 100) / 100


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Numbers of pixels of n slices, of what t thresholds mark in them.

    Attributes:
      common: Marked rightly, float64 [n, t].
      marked: Marked, float64 [n, t].
      true: Of the bleed, float64 [n, 1].
    """

    common: np.ndarray
    marked: np.ndarray
    true: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, thresholds: np.ndarray, truth: np.ndarray) -> Overlaps:
        """Counts the pixels at and above each threshold.

        Args:
          values: Masks' probabilities or heat maps, [n, H, W].
          thresholds: Rising, [t] for all slices or [n, t].
          truth: Masks, bool [n, H, W].
        """
        thresholds = np.broadcast_to(thresholds, (len(values), np.shape(thresholds)[-1]))
        rows = [
            [_at_least(value, ends), _at_least(value[inside], ends)]
            for value, ends, inside in zip(values, thresholds, truth, strict=True)
        ]
        marked, common = np.moveaxis(np.array(rows, np.float64), 1, 0)
        return cls(common, marked, truth.sum(axis=(1, 2), dtype=np.float64)[:, None])

    def at(self, place: int) -> Overlaps:
        """Those of one threshold."""
        here = slice(place, place + 1)
        return Overlaps(self.common[:, here], self.marked[:, here], self.true)

    def scores(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """IoU and Dice at each threshold: mean of the slices with a bleed; all pixels together."""
        bleeds = self.true[:, 0] > 0
        of_slices = _iou_and_dice(self.common[bleeds], self.marked[bleeds], self.true[bleeds])
        of_pixels = _iou_and_dice(*(x.sum(axis=0) for x in (self.common, self.marked, self.true)))
        return [(of_slices[0].mean(axis=0), of_slices[1].mean(axis=0)), of_pixels]


def main() -> None:
    """Prints the table."""
    from ich_tf.errors import InputError
    from ich_tf.inference.explainer import Explainer
    from ich_tf.inference.masks.mask_network import DEFAULT_THRESHOLD, MaskNetwork
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.records.manifest import Manifest
    from ich_tf.runtime.strategies import make_strategy

    manifest = Manifest.load(_DATA_DIR.value)
    strategy = make_strategy("one")
    predictors = []
    for folder in (_WORK_DIR.value, _HEAT_MAPS_OF.value or _WORK_DIR.value):
        predictors.append(load_predictor(folder, strategy))
        predictors[-1].check_data(manifest, folder)
    network = MaskNetwork.of(predictors[0])
    images, truth = _annotated_slices(manifest, max(x.neighbours for x in predictors))
    if not truth.any():
        raise InputError(
            f"{_DATA_DIR.value}: no slice of {_SPLIT.value} has a mask that marks {_CLASS.value}. "
            "Convert with --masks_dir, or choose another --split or --class_name."
        )
    print(
        f"{len(truth)} slices of {_SPLIT.value} in which {_CLASS.value} is annotated, "
        f"{int(truth.any(axis=(1, 2)).sum())} with a bleed.\n\n"
        "| | slices with a bleed: IoU | Dice | threshold | all pixels: IoU | Dice | threshold |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    if network is not None:
        column = CLASSES.index(_CLASS.value)
        values = _in_batches(lambda some: network.probabilities(some)[..., column], images)
        fixed = {"0.5": DEFAULT_THRESHOLD}
        if predictors[0].postprocessing.mask_thresholds:
            fixed["the calibrated threshold"] = float(network.thresholds[column])
        for name, threshold in fixed.items():
            ends = np.array([threshold], np.float32)
            print(row(f"masks at {name}", ends, Overlaps.of(values, ends, truth)))
        print(row("masks at their best threshold", _SHARES, Overlaps.of(values, _SHARES, truth)))
    explainer = Explainer(predictors[1])
    heat = _in_batches(lambda some: explainer(some, _CLASS.value), images)
    peaks = heat.max(axis=(1, 2))[:, None]
    # A map of zeros marks nothing.
    ends = np.where(peaks > 0, _SHARES * peaks, np.inf).astype(np.float32)
    name = "heat maps at the best share of their maximum"
    print(row(name, _SHARES, Overlaps.of(heat, ends, truth)))
    if heat.any():
        ends = np.unique(np.quantile(heat[heat > 0], 1 - np.geomspace(1e-4, 1, 100)))
        print(row("heat maps at the best value", ends, Overlaps.of(heat, ends, truth)))


def row(name: str, thresholds: np.ndarray, overlaps: Overlaps) -> str:
    """A row of the table: of each kind of scores IoU, Dice and the threshold of the best IoU."""
    cells = []
    for iou, dice in overlaps.scores():
        best = int(iou.argmax())
        cells.append(f"{iou[best]:.3f} | {dice[best]:.3f} | {thresholds[best]:.3g}")
    return f"| {name} | {' | '.join(cells)} |"


def _annotated_slices(manifest: Any, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the slices in which the class is annotated, and its masks, bool [n, H, W]."""
    from ich_tf.masks.bits import unpack
    from ich_tf.records.input_pipeline import read_masked_split

    column = CLASSES.index(_CLASS.value)
    images, masks = [], []
    for batch in read_masked_split(
        manifest, _SPLIT.value, batch_size=_BATCH, neighbours=neighbours
    ):
        known = batch["mask"].numpy() & (batch["annotated"].numpy() >> column & 1 > 0)
        images += list(batch["image"].numpy()[known])
        masks += [unpack(bits)[column] for bits in batch["mask_bits"].numpy()[known]]
    count = min(_MAX_SLICES.value or len(images), len(images))
    places = np.linspace(0, len(images) - 1, count).astype(int)
    shape = manifest.image_shape
    return (
        np.array([images[place] for place in places]).reshape(count, *shape[:2], -1),
        np.array([masks[place] for place in places], bool).reshape(count, *shape[:2]),
    )


def _in_batches(function: Any, images: np.ndarray) -> np.ndarray:
    """Applies a function of images, [n, H, W, C] -> [n, h, w]; results get their size."""
    import cv2

    size = images.shape[2], images.shape[1]
    parts = [function(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    values = np.concatenate(parts).astype(np.float32)
    return np.stack([value if value.shape == size else cv2.resize(value, size) for value in values])


def _at_least(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of values at or above each of rising thresholds."""
    return np.asarray(values.size - np.searchsorted(np.sort(values, axis=None), thresholds))


def _iou_and_dice(
    common: np.ndarray, marked: np.ndarray, true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return common / (marked + true - common), 2 * common / (marked + true)


if __name__ == "__main__":
    command.run(main, __doc__)
