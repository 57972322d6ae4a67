"""Evaluation of a model's masks on a split whose records have masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ich_tf.evaluation.masks.mask_evaluation import (
    MaskClassScores,
    ScoredSeries,
    score_masks,
    summarize,
)
from ich_tf.evaluation.masks.outlines import OutlinedSeries, pick_series
from ich_tf.evaluation.masks.segmented_series import segment_split
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.records.manifest import Manifest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MaskResults:
    """Scores of the masks of a split.

    Attributes:
      scored: Scores of each series and class.
      thresholds: Class -> least probability of a marked pixel.
      pictures: Series to show.
    """

    scored: Sequence[ScoredSeries]
    thresholds: Mapping[str, float]
    pictures: Sequence[OutlinedSeries]

    def summary(self, num_resamples: int) -> dict[str, MaskClassScores]:
        """Class -> scores, with intervals from this many resamples; 0 for none."""
        return summarize(self.scored, self.thresholds, num_resamples)


def evaluate_masks(
    predictor: Predictor, manifest: Manifest, split: str, batch_size: int, *, with_pictures: bool
) -> MaskResults | None:
    """Scores the masks of a model that segments, at its calibrated thresholds.

    Args:
      predictor: Model.
      manifest: Manifest of the records.
      split: Split of the records.
      batch_size: Slices in a step.
      with_pictures: Whether to draw series for the report.

    Returns:
      The scores; None if the model gives no masks, or no series of the split can be scored.

    Raises:
      DataError: If a record cannot be read.
    """
    network = MaskNetwork.of(predictor)
    if network is None:
        return None
    if not manifest.num_marked:
        _LOG.warning(
            "%s: the records hold no masks, so that those of the model are not scored. Convert "
            "with --masks_dir.",
            manifest.data_dir,
        )
        return None
    series = segment_split(network, manifest, split, batch_size, predictor.neighbours)
    scored = score_masks(series)
    without = sum(not each.has_volume for each in series)
    if without:
        _LOG.warning(
            "%d of %d series: no scores of masks, since they have a single slice, or no bleed of "
            "the split tells the size of their images.",
            *(without, len(series)),
        )
    if not scored:
        return None
    return MaskResults(
        scored,
        dict(zip(CLASSES, network.thresholds.tolist(), strict=True)),
        pick_series(scored, series, manifest, split) if with_pictures else (),
    )
