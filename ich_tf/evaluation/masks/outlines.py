"""Pictures of series with the outlines of both masks: the best, the median and the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.evaluation.masks.mask_evaluation import ScoredSeries
from ich_tf.evaluation.masks.segmented_series import SegmentedSeries
from ich_tf.inference.masks.image_masks import decode_bits
from ich_tf.labels import ANY, CLASSES
from ich_tf.records.manifest import Manifest
from ich_tf.records.stored_slices import read_stored

# Number of slices of each series; of subtypes fewer, so that the page stays small.
_SLICES, _SLICES_OF_SUBTYPE = 6, 2


@dataclass(frozen=True, eq=False)
class OutlinedSlice:
    """A slice with the outlines of a class.

    Attributes:
      source_id: Image id.
      number: Number of the slice in its series, from 1, in the order of positions.
      grey: Slice in the first window of the records, uint8 [H, W].
      reference, prediction: Masks of the record and of the model, bool [H, W].
    """

    source_id: str
    number: int
    grey: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True, eq=False)
class OutlinedSeries:
    """Slices of a series that show how well its masks agree.

    Attributes:
      rank: Place of the series among those with a bleed, by Dice: `best`, `median` or `worst`;
        `only` if there is no other.
      scored: Series and its scores.
      slices: Slices that both masks together mark most, in order.
    """

    rank: str
    scored: ScoredSeries
    slices: tuple[OutlinedSlice, ...]


def pick_series(
    scored: Sequence[ScoredSeries],
    series: Sequence[SegmentedSeries],
    manifest: Manifest,
    split: str,
) -> list[OutlinedSeries]:
    """Picks the best, the median and the worst series of each class, and draws slices of them.

    Args:
      scored: Scores of the split's series.
      series: The series with their masks.
      manifest: Manifest of the records.
      split: Split of the records.

    Returns:
      The series of each class, in the order of `labels.CLASSES`.

    Raises:
      DataError: If a record cannot be read.
    """
    by_key = {each.series_key: each for each in series}
    chosen = [
        (rank, result, _slices(by_key[result.series_key], k))
        for k, name in enumerate(CLASSES)
        for rank, result in _ranked([each for each in scored if each.class_name == name])
    ]
    ids = {
        by_key[result.series_key].slices[number].source_id
        for _, result, numbers in chosen
        for number in numbers
    }
    stored = read_stored(manifest.split_shards(split), ids)
    grey = {source_id: slice_.grey(manifest.windows) for source_id, slice_ in stored.items()}
    return [
        OutlinedSeries(
            rank,
            result,
            tuple(_outlined(by_key[result.series_key], number, result, grey) for number in numbers),
        )
        for rank, result, numbers in chosen
    ]


def outline_path(mask: np.ndarray) -> str:
    """Path of an SVG along the edges of a mask's pixels.

    Args:
      mask: bool [H, W].

    Returns:
      Path in pixels, from the upper left corner of the image; empty if nothing is marked.

    Examples:
      >>> outline_path(np.array([[False, True]]))
      'M1 0h1M1 1h1M1 0v1M2 0v1'
    """
    padded = np.pad(mask, 1)
    rows = padded[1:, 1:-1] != padded[:-1, 1:-1]
    columns = (padded[1:-1, 1:] != padded[1:-1, :-1]).T
    parts = [f"M{start} {row}h{length}" for row, start, length in _runs(rows)]
    parts += [f"M{column} {start}v{length}" for column, start, length in _runs(columns)]
    return "".join(parts)


def _runs(marked: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, first column and length of each run of True in bool [n, m]."""
    steps = np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps > 0), np.argwhere(steps < 0)
    return [
        (row, start, end - start)
        for (row, start), (_, end) in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def _ranked(rows: Sequence[ScoredSeries]) -> list[tuple[str, ScoredSeries]]:
    """The best, the median and the worst series with a bleed; of one or two series, these."""
    order = sorted(
        (row for row in rows if row.has_bleed), key=lambda row: (-row.scores.dice, row.series_key)
    )
    last = len(order) - 1
    places = {"only": 0} if last <= 0 else {"best": 0, "median": last // 2, "worst": last}
    if last == 1:
        del places["median"]
    return [(rank, order[place]) for rank, place in places.items() if order]


def _slices(series: SegmentedSeries, class_index: int) -> list[int]:
    """Numbers of slices at equal shares of all that both masks mark."""
    reference, prediction = series.bits()
    known = series.annotated(class_index)
    marked = ((reference | prediction) >> class_index & 1).sum(axis=(1, 2)) * known
    count = _SLICES if class_index == ANY else _SLICES_OF_SUBTYPE
    shares = (np.arange(count) + 0.5) / count * marked.sum()
    return sorted(set(np.searchsorted(np.cumsum(marked), shares).tolist()))


def _outlined(
    series: SegmentedSeries, number: int, scored: ScoredSeries, grey: dict[str, np.ndarray]
) -> OutlinedSlice:
    slice_, k = series.slices[number], CLASSES.index(scored.class_name)
    return OutlinedSlice(
        slice_.source_id,
        number + 1,
        grey[slice_.source_id],
        *(
            (decode_bits(data) >> k & 1).astype(bool)
            for data in (slice_.reference, slice_.prediction)
        ),
    )
