"""Passes under one series UID: told apart where slices lie in the same place, and only there."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom.geometry import places_along, series_normal
from ich_tf.dicom.header import Header
from ich_tf.dicom.series import group_by_series, passes_of
from tests.support.dicom_files import headers_of


@dataclass(frozen=True)
class Item:
    header: Header


def item(name: str, z: float, **changes: object) -> Item:
    header = Header(
        image_id=name,
        patient_id="P",
        study_id="T",
        series_id="S",
        rows=8,
        columns=8,
        position_mm=(0.0, 0.0, z),
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing_mm=(1.0, 1.0),
    )
    return Item(replace(header, **changes))


def stack(prefix: str, places: list[float], **changes: object) -> list[Item]:
    return [item(f"{prefix}{i:02}", z, **changes) for i, z in enumerate(places)]


def names(items: list[Item]) -> list[str]:
    """Prefixes of the passes, in order; shuffled first, for the order of files must not matter."""
    shuffled = [items[i] for i in np.random.default_rng(3).permutation(len(items))]
    passes = passes_of(shuffled)
    for pass_ in passes:
        places = places_along([slice_.header for slice_ in pass_])
        assert places == sorted(places)
        assert np.isfinite(places).all()
    return ["".join(slice_.header.image_id[0] for slice_ in pass_) for pass_ in passes]


PLACES = [0.0, 5.0, 10.0, 15.0]


def instances(items: list[Item], first: int = 1) -> list[Item]:
    return [
        Item(replace(entry.header, instance=first + number)) for number, entry in enumerate(items)
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"acquisition": 1}, {"acquisition": 2}),
        ({"time_s": 100.0}, {"time_s": 160.0}),
        ({"contrast": "no"}, {"contrast": "yes"}),
        ({"kernel": "soft"}, {"kernel": "sharp"}),
        ({"thickness_mm": 5.0}, {"thickness_mm": 1.0}),
        ({"content": "axial"}, {"content": "mip"}),
        ({"rows": 8}, {"rows": 16}),
    ],
)
def test_what_tells_slices_in_the_same_place_apart_makes_two_passes(
    first: dict, second: dict
) -> None:
    items = stack("a", PLACES, **first) + stack("b", PLACES, **second)
    assert sorted(names(items)) == ["aaaa", "bbbb"]


def test_passes_are_told_apart_by_instance_numbers_alone() -> None:
    items = instances(stack("a", PLACES) + stack("b", PLACES))
    assert names(items) == ["aaaa", "bbbb"]
    shifted = instances(
        stack("a", PLACES, thickness_mm=5.0) + stack("b", [z + 1 for z in PLACES], thickness_mm=5.0)
    )
    assert names(shifted) == ["aaaa", "bbbb"]


def test_passes_are_told_apart_by_uids_that_count_up() -> None:
    uids = [f"1.2.{number}" for number in range(8, 16)]
    items = [item(uid, z) for uid, z in zip(uids, PLACES + PLACES, strict=True)]
    order = np.random.default_rng(1).permutation(8)
    passes = passes_of([items[i] for i in order])
    assert [[entry.header.image_id for entry in pass_] for pass_ in passes] == [uids[:4], uids[4:]]


def test_a_table_that_goes_up_and_down_makes_passes() -> None:
    items = instances(stack("a", PLACES) + stack("b", PLACES[::-1]) + stack("c", PLACES))
    assert names(items) == ["aaaa", "bbbb", "cccc"]


def test_time_points_place_by_place_make_a_pass_each() -> None:
    items = instances([item(f"{t}{z:02.0f}", z) for z in PLACES for t in "abcde"])
    assert names(items) == ["aaaa", "bbbb", "cccc", "dddd", "eeee"]


def test_passes_that_lie_between_each_other_are_kept_apart() -> None:
    between = [z + 2 for z in PLACES]
    for thickness in (0.0, 5.0):
        items = stack("a", PLACES, acquisition=1, thickness_mm=thickness)
        items += stack("b", between, acquisition=2, thickness_mm=thickness)
        assert names(items) == ["aaaa", "bbbb"]


def test_every_second_slice_of_another_acquisition_is_one_stack() -> None:
    items = stack("a", [0, 10, 20, 30], acquisition=1, thickness_mm=5.0)
    items += stack("b", [5, 15, 25, 35], acquisition=2, thickness_mm=5.0)
    assert names(items) == ["abababab"]


def test_a_head_of_thin_and_then_thick_slices_stays_one_series() -> None:
    base = stack("a", [0, 4, 8, 12, 16], acquisition=1, thickness_mm=4.0)
    top = stack("b", [17, 24, 31, 38], acquisition=2, thickness_mm=7.0)
    assert names(base + top) == ["aaaaabbbb"]
    again = stack("c", [0, 4, 8, 12, 16], acquisition=3, thickness_mm=4.0)
    again += stack("d", [17, 24, 31, 38], acquisition=4, thickness_mm=7.0)
    assert names(base + top + again) == ["aaaaabbbb", "cccccdddd"]


def test_blocks_that_share_a_place_at_their_ends_are_one_stack() -> None:
    items = stack("a", [0, 5, 10], acquisition=1) + stack("b", [10, 15, 20], acquisition=2)
    assert len(names(items)) == 1


def test_a_scanner_that_numbers_every_slice_as_an_acquisition() -> None:
    first = [item(f"a{k}", 5 * k, acquisition=k, thickness_mm=5.0) for k in range(6)]
    assert names(first) == ["aaaaaa"]
    for shift in (0, 1):
        second = [
            item(f"b{k}", 5 * k + shift, acquisition=10 + k, thickness_mm=5.0) for k in range(6)
        ]
        assert names(first + second) == ["aaaaaa", "bbbbbb"]


def test_a_slice_that_is_repeated_in_mid_scan_leaves_the_scan_whole() -> None:
    scan = [item(f"a{k}", 5 * k, acquisition=k if k < 5 else k + 1) for k in range(10)]
    assert names([*scan, item("b", 20, acquisition=5)]) == ["a" * 10, "b"]


def test_a_scan_that_was_begun_anew_is_whole() -> None:
    broken = [item(f"a{k}", 5 * k, acquisition=k) for k in range(4)]
    anew = [item(f"b{k}", 5 * k, acquisition=10 + k) for k in range(9)]
    assert names(broken + anew) == ["aaaa", "b" * 9]


def test_instance_numbers_in_no_order_split_nothing() -> None:
    order = np.random.default_rng(0).permutation(30)
    items = [item(f"a{k:02}", 0.5 * k, thickness_mm=1.0, instance=int(order[k])) for k in range(30)]
    assert names(items) == ["a" * 30]


def test_acquisition_numbers_in_no_order_split_nothing() -> None:
    numbers = np.random.default_rng(0).integers(0, 12, 60)
    items = [item(f"a{k:02}", 1.0 * k, acquisition=int(numbers[k])) for k in range(60)]
    assert names(items) == ["a" * 60]


@pytest.mark.parametrize("count", [6, 5, 7])
def test_opposite_normals_have_a_common_one(count: int) -> None:
    mirrored = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    items = stack("a", [5.0 * k for k in range(count)])
    items += stack("b", [5.0 * k for k in range(count, 12)], orientation=mirrored)
    assert np.isfinite(series_normal([entry.header for entry in items])).all()
    (only,) = names(items)
    assert only in ("a" * count + "b" * (12 - count), "b" * (12 - count) + "a" * count)
    copies = stack("a", PLACES) + stack("b", PLACES, orientation=mirrored)
    assert sorted(names(copies)) == ["aaaa", "bbbb"]


def test_planes_that_are_not_parallel_are_no_stack() -> None:
    tilt = np.deg2rad(15)
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    assert sorted(names(stack("a", PLACES) + stack("b", PLACES, orientation=tilted))) == [
        "aaaa",
        "bbbb",
    ]


def test_the_first_pass_keeps_the_id_of_the_series() -> None:
    items = stack("a", PLACES, acquisition=1) + stack("b", PLACES, acquisition=2)
    assert [key[2] for key in group_by_series(items)] == ["S", "S/2"]


@pytest.mark.parametrize("folder", ["ge_head", "philips_study"])
def test_series_of_real_scanners_are_not_split(real_dicom: Path, folder: str) -> None:
    items = [
        Item(header) for header in headers_of(path for path in (real_dicom / folder).rglob("*"))
    ]
    assert not [key for key in group_by_series(items) if "/" in key[2]]
