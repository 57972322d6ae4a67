"""Slabs of thin slices in a conversion: pixels, labels, ids, bad members."""

import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.verification import verify
from ich_tf.dicom.reader import read_slice
from ich_tf.labels import CLASSES
from ich_tf.records.images import read_image
from ich_tf.windows import store_hu
from tests.support.conversions import slice_records_of
from tests.support.ct_study import write_study


def config_of(source: Path, out_dir: Path, **changes: object) -> ConversionConfig:
    values = {"labels_csv": "", "image_size": 16, "num_workers": 1, "encoding": "hu16"}
    values |= {"slab_mm": 5.0, "max_bad_fraction": 1.0}
    return ConversionConfig(dicom_dir=str(source), out_dir=str(out_dir), **{**values, **changes})


def test_thin_slices_are_averaged_in_hounsfield_units(tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("thin",))["thin"]
    convert(config_of(tmp_path / "in", tmp_path / "out"))
    slabs = slice_records_of(tmp_path / "out")
    assert [slab.slab for slab in slabs] == [5, 5, 5, 5, 5, 1]
    assert [slab.thickness_mm for slab in slabs] == [5.0] * 5 + [1.0]
    assert [slab.z_mm for slab in slabs] == [2.0, 7.0, 12.0, 17.0, 22.0, 25.0]
    assert [slab.num_slices for slab in slabs] == [6] * 6
    mean = np.mean([read_slice(path.read_bytes()).hu for path in paths[:5]], axis=0)
    expected = store_hu(mean.astype(np.float32), 16)
    np.testing.assert_array_equal(read_image(slabs[0])[..., 0], expected)
    trace = find_slice(tmp_path / "out", paths[0].name).describe()
    assert trace["dicom"].endswith(paths[2].name)
    assert trace["slab"] == 5
    assert not verify(tmp_path / "out", full=True)


def test_thick_slices_stay_as_they_are(tmp_path: Path) -> None:
    write_study(tmp_path / "in", ("standard",))
    convert(config_of(tmp_path / "in", tmp_path / "slabs"))
    convert(config_of(tmp_path / "in", tmp_path / "slices", slab_mm=0.0))
    assert slice_records_of(tmp_path / "slabs") == slice_records_of(tmp_path / "slices")


def test_a_slab_has_the_labels_of_all_its_slices(tmp_path: Path) -> None:
    rows = []
    for patient in ("P1", "P2", "P3"):
        for number, path in enumerate(
            write_study(tmp_path / "in", ("thin",), patient=patient)["thin"]
        ):
            positive = ("subdural", "any") if number == 3 else ()
            rows += [f"{path.stem}_{name},{int(name in positive)}\n" for name in CLASSES]
    (tmp_path / "labels.csv").write_text("ID,Label\n" + "".join(rows))
    labels_csv = str(tmp_path / "labels.csv")
    convert(
        config_of(
            tmp_path / "in",
            tmp_path / "out",
            labels_csv=labels_csv,
            num_folds=2,
            test_fraction=0.0,
        )
    )
    by_place = {slab.slice_index: slab.labels for slab in slice_records_of(tmp_path / "out")}
    assert by_place[0] == tuple(int(name in ("subdural", "any")) for name in CLASSES)
    assert by_place[1] == (0,) * 6


def test_a_slice_that_cannot_be_read_leaves_its_slab_thinner(tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("thin",))["thin"]
    for path in (paths[2], *paths[5:10]):
        path.write_bytes(path.read_bytes()[:-100])
    convert(config_of(tmp_path / "in", tmp_path / "out"))
    slabs = slice_records_of(tmp_path / "out")
    assert [slab.slab for slab in slabs] == [4, 5, 5, 5, 1]
    assert [slab.slice_index for slab in slabs] == [0, 2, 3, 4, 5]
    lines = (tmp_path / "out/quarantine.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["path"] for line in lines) == sorted(
        path.name for path in (paths[2], *paths[5:10])
    )
    assert not verify(tmp_path / "out", full=True)


@pytest.mark.slow
def test_slabs_do_not_depend_on_workers(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        write_study(tmp_path / "in", ("thin",), patient=patient)
    for workers in (1, 2):
        convert(config_of(tmp_path / "in", tmp_path / f"out{workers}", num_workers=workers))
    assert slice_records_of(tmp_path / "out1") == slice_records_of(tmp_path / "out2")


def test_slabs_are_cropped_as_one_series(tmp_path: Path) -> None:
    write_study(tmp_path / "in", ("thin",), side=64)
    convert(config_of(tmp_path / "in", tmp_path / "out", crop="head"))
    assert len({slab.crop for slab in slice_records_of(tmp_path / "out")}) == 1
