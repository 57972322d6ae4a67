"""One series UID -> the passes in it: stacks of slices with one slice at a place.

A scanner puts into one series what belongs together for it: a repeat after motion, the scans before
and after contrast, twenty time points of a perfusion, two kernels. Mixed along the body, each slice
would have another scan's slice for a neighbour. A series is therefore split

- always by matrix, by content (an axial slice, a projection, a map) and by plane;
- by mirroring, origin, contrast, kernel, thickness and pixel spacing where slices that differ in it
  lie in the same place or between each other: a head of 4 mm and then 7 mm slices is one stack;
- by acquisition, else by time, else by instance number, where slices lie in the same place still.

A scanner that numbers every slice as an acquisition is not split: its acquisitions follow each
other along the body.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ich_tf.dicom.geometry import order_along, places_along
from ich_tf.dicom.header import Header

# Slices nearer than this lie in the same place; the thinnest slices of a head lie 0.2 mm apart.
_SAME_PLACE_MM = 0.05
# Planes whose normals differ by more are no stack: 3 degrees, for headers are rounded.
_MAX_PLANE_SINE = 0.05
# Two blocks of slices share this many places at their ends where one goes on from the other.
_SEAM = 2
# A pass that only the order of instances shows has this many slices: anonymised numbers are in no
# order.
_LEAST_RUN = 3
# So many passes are believed of a series whatever they hold; of more, ten slices a pass.
_MANY_PASSES = 2

# What may tell slices in the same place apart, in this order.
_ATTRIBUTES: tuple[Callable[[Header], object], ...] = (
    lambda header: bool(header.normal[2] > 0),
    lambda header: header.origin,
    lambda header: header.contrast,
    lambda header: header.kernel,
    lambda header: header.thickness_mm,
    lambda header: header.spacing_mm,
)


def split(headers: Sequence[Header]) -> list[list[int]]:
    """Splits one series into passes.

    Args:
      headers: Headers of a series' slices, in any order.

    Returns:
      Indices of the slices of each pass along the pass's normal; copies of an image stay together.
      Passes are in the order of their acquisition; which ones there are does not depend on the
      order of `headers`.
    """
    images = _partition(range(len(headers)), lambda i: headers[i].image_id)
    passes = _split([headers[copies[0]] for copies in images])
    return [
        [members[i] for i in order_along([headers[i] for i in members])]
        for pass_ in passes
        for members in ([i for image in pass_ for i in images[image]],)
    ]


def _split(headers: Sequence[Header]) -> list[list[int]]:
    """Splits slices of different images, each pass in no order."""
    if len({_look(header) for header in headers}) == 1:
        # Nearly every series; the general way takes ten times as long.
        passes = _by_acquisition(_Stack(headers), list(range(len(headers))))
    else:
        passes = []
        for matrix in _partition(range(len(headers)), lambda i: _kind(headers[i])):
            for plane in _planes(headers, matrix):
                stack = _Stack([headers[i] for i in plane])
                passes += [[plane[i] for i in pass_] for pass_ in _split_stack(stack)]
    if len(passes) > 1:
        passes.sort(key=lambda pass_: min(_sequence_key(headers[i]) for i in pass_))
    return passes


class _Stack:
    """Parallel slices of one matrix and one content.

    Attributes:
      headers: Headers of the slices.
      places: Positions along the common normal, mm.
    """

    def __init__(self, headers: Sequence[Header]) -> None:
        self.headers = headers
        self.places = np.array(places_along(headers))

    def collide(self, first: Sequence[int], second: Sequence[int], *, strict: bool) -> bool:
        """Whether two groups of slices cannot be one stack.

        They cannot if slices lie in the same place, nor if one group lies between the slices of the
        other, nearer than half a slice's thickness: the same tissue was scanned twice. Blocks that
        merely touch or overlap at their ends can.

        Args:
          first: Indices of slices.
          second: Indices of other slices.
          strict: Whether slices of unknown thickness between each other collide.
        """
        a, b = np.sort(self.places[first]), np.sort(self.places[second])
        at = np.searchsorted(a, b)
        nearest = np.minimum(
            np.abs(b - a[np.minimum(at, len(a) - 1)]), np.abs(b - a[np.maximum(at - 1, 0)])
        ).min()
        if len(a) > _SEAM and len(b) > _SEAM:
            shared = _num_within(a, b) + _num_within(b, a)
            if shared <= _SEAM:
                return False
        if nearest < _SAME_PLACE_MM:
            return True
        if a[-1] < b[0] or b[-1] < a[0]:
            return False
        thinnest = min(self.headers[i].thickness_mm for i in (*first, *second))
        return bool(nearest < thinnest / 2) if thinnest > 0 else strict

    def has_repeats(self, members: Sequence[int]) -> bool:
        """Whether two of these slices lie in the same place."""
        gaps = np.diff(np.sort(self.places[members]))
        return bool(len(gaps) and gaps.min() < _SAME_PLACE_MM)


def _num_within(places: np.ndarray, others: np.ndarray) -> int:
    """Number of sorted places between the first and the last of some others."""
    low, high = others[0] - _SAME_PLACE_MM, others[-1] + _SAME_PLACE_MM
    return int(np.count_nonzero((places >= low) & (places <= high)))


def _split_stack(stack: _Stack) -> Iterator[list[int]]:
    """Passes of a stack, as indices into it."""
    groups = [list(range(len(stack.headers)))]
    for attribute in _ATTRIBUTES:
        groups = [part for group in groups for part in _by_attribute(stack, group, attribute)]
    for group in groups:
        yield from _by_acquisition(stack, group)


def _by_attribute(
    stack: _Stack, group: list[int], attribute: Callable[[Header], object]
) -> list[list[int]]:
    """Parts of a group with different values of an attribute; the group if these do not collide."""
    parts = _partition(group, lambda i: attribute(stack.headers[i]))
    return parts if _any_collide(stack, parts, strict=True) else [group]


def _any_collide(stack: _Stack, groups: Sequence[list[int]], *, strict: bool) -> bool:
    return any(
        stack.collide(first, second, strict=strict)
        for number, first in enumerate(groups)
        for second in groups[:number]
    )


def _by_acquisition(stack: _Stack, group: list[int]) -> list[list[int]]:
    """Passes of slices that are alike in every attribute."""
    group = sorted(group, key=lambda i: _sequence_key(stack.headers[i]))
    repeats = stack.has_repeats(group)
    if repeats:
        group.sort(key=lambda i: _made_key(stack.headers[i]))
    if not repeats and _is_one_way(stack, group):
        return [group]
    units = [
        unit
        for acquisition in _partition(group, lambda i: stack.headers[i].acquisition)
        for unit in ([[i] for i in acquisition] if _is_mixed(stack, acquisition) else [acquisition])
    ]
    if len(units) == 1:
        return units
    if repeats and _is_place_by_place(stack, group):
        # Twenty time points at a place, then the table moves: the n-th there is of the n-th pass.
        return _fill(stack, [[i] for i in group])
    runs = _runs(stack, units)
    if min(map(len, runs)) < _LEAST_RUN and not repeats and _are_blocks(stack, units):
        return [group]
    by_unit = _fill(stack, units)
    candidates = []
    if min(map(len, runs)) >= _LEAST_RUN:
        candidates.append(_fill(stack, runs))
    # A repeat of a few slices in mid-scan ends a run, and the scan goes on with the next unit.
    if not candidates or not any(_is_mixed(stack, pass_) for pass_ in by_unit):
        candidates.append(by_unit)
    passes = min(
        candidates,
        key=lambda passes: (
            any(map(stack.has_repeats, passes)),
            len(passes),
            -max(map(len, passes)),
        ),
    )
    # Numbers that an anonymiser dealt tell nothing apart: what lies in the same place has to do.
    is_scattered = len(passes) > _MANY_PASSES + len(group) // 10
    return _fill(stack, [[i] for i in group]) if is_scattered else passes


def _is_one_way(stack: _Stack, group: list[int]) -> bool:
    """Whether the scanner went along the body in one direction."""
    steps = np.diff(stack.places[group])
    return bool((steps > 0).all() or (steps < 0).all())


def _is_mixed(stack: _Stack, members: list[int]) -> bool:
    """Whether slices, in the order in which they were made, are of several passes."""
    if stack.has_repeats(members):
        return True
    if _is_one_way(stack, members):
        return False
    runs = _runs(stack, [[i] for i in members])
    return min(map(len, runs)) >= _LEAST_RUN and _any_collide(stack, runs, strict=False)


def _is_place_by_place(stack: _Stack, group: list[int]) -> bool:
    """Whether the scanner took all slices of a place before it went on to the next."""
    places = stack.places[group]
    num_stays = np.count_nonzero(np.abs(np.diff(places)) < _SAME_PLACE_MM)
    num_repeats = len(group) - 1 - _place_numbers(places).max()
    # Two blocks that share a place stay at it, too, once.
    return bool(2 * num_stays > num_repeats and 4 * num_stays >= len(group))


def _are_blocks(stack: _Stack, units: Sequence[list[int]]) -> bool:
    """Whether each unit covers a part of the body of its own."""
    ends = sorted((stack.places[unit].min(), stack.places[unit].max()) for unit in units)
    return all(last < first for (_, last), (first, _) in itertools.pairwise(ends))


def _place_numbers(places: np.ndarray) -> np.ndarray:
    """Number of each slice's place, counted along the body, from 0."""
    order = np.argsort(places, kind="stable")
    numbers = np.zeros(len(places), np.int64)
    numbers[order[1:]] = np.cumsum(np.diff(places[order]) >= _SAME_PLACE_MM)
    return numbers


def _runs(stack: _Stack, units: Sequence[list[int]]) -> list[list[int]]:
    """Joins units that follow each other along the body in one direction."""
    runs: list[list[int]] = []
    previous = direction = 0.0
    last: list[int] = []
    for unit in units:
        centre = float(stack.places[unit[0]] if len(unit) == 1 else stack.places[unit].mean())
        step = centre - previous if abs(centre - previous) >= _SAME_PLACE_MM else 0.0
        alone = len(unit) == len(last) == 1
        if (
            runs
            and step
            and step * direction >= 0
            and (alone or not stack.collide(last, unit, strict=True))
        ):
            runs[-1] += unit
            direction = step
        else:
            runs.append(list(unit))
            direction = 0.0
        previous, last = centre, unit
    return runs


def _fill(stack: _Stack, units: Sequence[list[int]]) -> list[list[int]]:
    """Puts each unit into the first pass with whose units it does not collide."""
    passes: list[list[list[int]]] = []
    if all(len(unit) == 1 for unit in units):
        # Single slices collide in the same place alone: the n-th of a place is of the n-th pass.
        counts: Counter[int] = Counter()
        numbers = _place_numbers(stack.places[[unit[0] for unit in units]]).tolist()
        for unit, place in zip(units, numbers, strict=True):
            if counts[place] == len(passes):
                passes.append([])
            passes[counts[place]].append(unit)
            counts[place] += 1
    else:
        for unit in units:
            for pass_ in passes:
                if not any(stack.collide(other, unit, strict=True) for other in pass_):
                    pass_.append(unit)
                    break
            else:
                passes.append([unit])
    return [[i for unit in pass_ for i in unit] for pass_ in passes]


def _planes(headers: Sequence[Header], members: Sequence[int]) -> Iterator[list[int]]:
    """Groups slices whose planes are parallel; a mirrored one is parallel, too."""
    ordered = sorted(members, key=lambda i: (headers[i].orientation, headers[i].image_id))
    groups: list[tuple[np.ndarray, list[int]]] = []
    for alike in _partition(ordered, lambda i: headers[i].orientation):
        normal = headers[alike[0]].normal
        for first, group in groups:
            if np.linalg.norm(np.cross(first, normal)) <= _MAX_PLANE_SINE:
                group += alike
                break
        else:
            groups.append((normal, alike))
    yield from (group for _, group in groups)


def _partition(members: Iterable[int], key: Callable[[int], object]) -> list[list[int]]:
    """Groups indices by a key; groups and members keep the order in which they come."""
    groups: dict[object, list[int]] = {}
    for i in members:
        groups.setdefault(key(i), []).append(i)
    return list(groups.values())


def _kind(header: Header) -> tuple[object, ...]:
    """What is the same in all slices of a stack, besides their plane."""
    return header.rows, header.columns, header.content


def _look(header: Header) -> tuple[object, ...]:
    """Everything but place and acquisition that tells slices apart."""
    return (
        *_kind(header), header.orientation, header.origin, header.contrast, header.kernel,
        header.thickness_mm, header.spacing_mm,
    )  # fmt: skip


def _made_key(header: Header) -> tuple[object, ...]:
    """As `_sequence_key`; UIDs, which scanners count up, in the order of their numbers."""
    numbers = tuple((len(part), part) for part in header.image_id.split("."))
    return header.acquisition, header.time_s, header.instance, numbers


def _sequence_key(header: Header) -> tuple[int, float, int, str]:
    """Key of the order in which a scanner made its slices."""
    return header.acquisition, header.time_s, header.instance, header.image_id
