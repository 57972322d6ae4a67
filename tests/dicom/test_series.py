from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom.geometry import position_along, series_normal
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_headers
from ich_tf.dicom.series import group_by_series, order


@dataclass(frozen=True)
class Item:
    header: Header


def header(image_id: str, z: float, tilt_deg: float = 0.0, series_id: str = "S") -> Header:
    tilt = np.deg2rad(tilt_deg)
    return Header(
        image_id=image_id,
        patient_id="P",
        study_id="T",
        series_id=series_id,
        rows=8,
        columns=8,
        position_mm=(0.0, 0.0, z),
        orientation=(1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt))),
        spacing_mm=(1.0, 1.0),
    )


def test_slices_are_ordered_along_the_normal_whatever_their_names() -> None:
    rng = np.random.default_rng(0)
    items = [Item(header(f"ID_{rng.integers(1 << 30):x}", z)) for z in range(30)]
    shuffled = [items[i] for i in rng.permutation(30)]
    assert order(shuffled) == items


def test_raw_z_misorders_a_tilted_series_and_the_normal_does_not() -> None:
    """Each slice is 4 mm on along the normal while its corner moves within the plane."""
    base = header("x", 0.0, tilt_deg=-25)
    normal, column = base.normal, np.array(base.orientation[3:])
    positions = [4.0 * i * normal + 12.0 * (i % 2) * column for i in range(6)]
    items = [
        Item(replace(base, image_id=str(9 - i), position_mm=tuple(map(float, p))))
        for i, p in enumerate(positions)
    ]
    by_z = sorted(items, key=lambda item: item.header.position_mm[2])
    assert by_z != items
    assert order(items[::-1]) == items
    mean = series_normal([item.header for item in items])
    steps = np.diff([position_along(item.header, mean) for item in items])
    np.testing.assert_allclose(steps, 4.0, atol=1e-3)


def test_equal_positions_are_ordered_by_id() -> None:
    items = [Item(header(name, 5.0)) for name in ("b", "a", "c")]
    assert [item.header.image_id for item in order(items)] == ["a", "b", "c"]


def test_series_are_kept_apart() -> None:
    items = [Item(header(str(i), 10.0 - i, series_id=f"S{i % 2}")) for i in range(6)]
    groups = group_by_series(items)
    assert [key[2] for key in groups] == ["S0", "S1"]
    assert [item.header.image_id for item in groups["P", "T", "S0"]] == ["4", "2", "0"]


def test_ge_head_is_ordered_along_its_tilted_normal(real_dicom: Path) -> None:
    items = []
    for path in sorted((real_dicom / "ge_head").glob("*.dcm")):
        with open(path, "rb") as file:
            items.append((path.stem, Item(read_headers(file)[0])))
    names = {id(item): name for name, item in items}
    ordered = [names[id(item)] for item in order([item for _, item in reversed(items)])]
    assert ordered == [f"{i:02}" for i in range(1, 29)]
    assert items[0][1].header.gantry_tilt_deg == pytest.approx(-18.5, abs=0.01)
