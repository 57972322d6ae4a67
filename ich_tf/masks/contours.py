"""Closed contours -> the pixels within them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def fill(polygons: Iterable[np.ndarray], rows: int, columns: int) -> np.ndarray:
    """Fills polygons by the even-odd rule, so that a contour within another one is a hole.

    A pixel is filled if its centre lies within. A centre on an edge counts as within on the left
    and upper sides alone, so that areas side by side neither overlap nor leave a line between them.

    Args:
      polygons: Row and column of each corner, float [n, 2]; pixel centres are whole numbers.
      rows: Number of rows of the mask.
      columns: Number of columns of the mask.

    Returns:
      bool [rows, columns].

    Examples:
      >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]])
      >>> fill([square], 3, 4).astype(int).tolist()
      [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    # Number of edges that each row crosses before a pixel's centre and behind the one before it.
    crossings = np.zeros((rows, columns + 1), np.int64)
    for polygon in polygons:
        ends = np.roll(polygon, -1, axis=0)
        for (row, column), (next_row, next_column) in zip(
            polygon.tolist(), ends.tolist(), strict=True
        ):
            first, last = sorted((row, next_row))
            # Half open: a corner on a row's centre belongs to one of its two edges.
            crossed = np.arange(max(0, int(np.ceil(first))), min(rows, int(np.ceil(last))))
            if not len(crossed):
                continue
            share = (crossed - row) / (next_row - row)
            at = np.ceil(column + share * (next_column - column))
            np.add.at(crossings, (crossed, at.clip(0, columns).astype(np.int64)), 1)
    return np.asarray(np.cumsum(crossings[:, :columns], axis=1) % 2 == 1)
