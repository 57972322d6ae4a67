"""Whether the image that comes with a mask lies on the slices as its geometry says.

Files exist whose masks are mirrored, turned or a slice off, with an affine that looks right. Where
the data set's own image comes along, it shows: placed by the same geometry, it must be more like
the slices than in any other orientation.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from ich_tf.masks.errors import MaskError, MaskReason

# Pixels a side that slices are compared at: enough to tell left from right in the skull.
_SIDE = 64
# Below lies air, whose noise is alike in no two images; bone above 300 HU differs by kernel.
_LOW_HU, _HIGH_HU = -200.0, 300.0
# Share of a slice that its image covers, to count.
_MIN_COVERED = 0.5
# Correlation of ranks below which two images are of other heads or of other content.
_MIN_CORRELATION = 0.5
_ROUNDING = 1e-4


def check_orientation(image: np.ndarray, slices_hu: np.ndarray) -> None:
    """Checks that an image is most like the slices where and as it lies.

    Ranks of grey values are correlated, so that the image may have any window or scale. Compared
    are the eight orientations in the plane, in either order of the slices, and shifts by one slice.

    Args:
      image: The data set's own image as `placement.place_image` has placed it, float32
        [n, rows, columns] in the order of the slices along the body; NaN where it has no pixel.
      slices_hu: The slices, Hounsfield units, [n, rows, columns].

    Raises:
      MaskError: MASK_MISALIGNED, with the orientation that fits best.
    """
    covered = np.isfinite(image).mean(axis=(1, 2)) >= _MIN_COVERED
    if not covered.any():
        raise MaskError(
            MaskReason.MASK_MISALIGNED, "has an image that covers no slice; expected this series."
        )
    ranks = _ranks(_small(np.nan_to_num(image, nan=float(np.nanmin(image)))))
    slices = _ranks(_small(np.clip(slices_hu, _LOW_HU, _HIGH_HU)))
    lies = _correlations(ranks, slices)[covered].mean()
    if not lies >= _MIN_CORRELATION:
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"has an image that is not like the slices: their correlation is {lies:.2f}; expected "
            f"{_MIN_CORRELATION} or more, and the image of this series.",
        )
    best, name = _ROUNDING, ""
    is_square = image.shape[1] == image.shape[2]
    for other, turned, indices in _others(ranks, covered, is_square=is_square):
        counted = covered & (indices >= 0)
        counted[counted] = covered[indices[counted]]
        if not counted.any():
            continue
        moved = turned[indices[counted]]
        margin = (
            _correlations(moved, slices[counted]) - _correlations(ranks[counted], slices[counted])
        ).mean()
        if margin > best:
            best, name = float(margin), other
    if name:
        raise MaskError(
            MaskReason.MASK_MISALIGNED,
            f"has an image that fits the slices better when it is {name}: by {best:.3f} of a "
            f"correlation of {lies:.3f}; expected it to fit best as its geometry places it.",
        )


def _others(
    ranks: np.ndarray, covered: np.ndarray, *, is_square: bool
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Every other orientation: its name, the slices turned, and which of them lies at each slice.

    The index of a slice that has none is -1.
    """
    count = len(ranks)
    order = np.arange(count)
    # An image that covers a part of the slices is reversed in its place.
    reversed_ = np.flatnonzero(covered)[[0, -1]].sum() - order
    reversed_[reversed_ >= count] = -1
    for transposed in (False, True) if is_square else (False,):
        for flips in ((), (1,), (2,), (1, 2)):
            turned = np.flip(ranks.transpose(0, 2, 1) if transposed else ranks, flips)
            name = _NAMES[transposed, flips]
            if name:
                yield name, turned, order
            reverse = f"{name}, and in the reverse order" if name else "in the reverse order"
            yield reverse, turned, reversed_
    yield "one slice up", ranks, np.where(order > 0, order - 1, -1)
    yield "one slice down", ranks, np.where(order < count - 1, order + 1, -1)


_NAMES = {
    (False, ()): "",
    (False, (1,)): "mirrored from top to bottom",
    (False, (2,)): "mirrored from left to right",
    (False, (1, 2)): "turned by 180 degrees",
    (True, ()): "mirrored along the diagonal",
    (True, (1,)): "turned by 90 degrees to the left",
    (True, (2,)): "turned by 90 degrees to the right",
    (True, (1, 2)): "mirrored along the other diagonal",
}


def _small(slices: np.ndarray) -> np.ndarray:
    """Slices at a size for comparison, float32 [n, _SIDE, _SIDE]."""
    return np.stack(
        [
            cv2.resize(slice_.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            for slice_ in slices
        ]
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value among all, equal ones with their mean rank, float64 of the same shape."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse].reshape(values.shape))


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of each pair of slices; 0 where one of them is all of one value."""
    first = (first - first.mean(axis=(1, 2), keepdims=True)).reshape(len(first), -1)
    second = (second - second.mean(axis=(1, 2), keepdims=True)).reshape(len(second), -1)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.where(scale > 0, scale, np.inf))
