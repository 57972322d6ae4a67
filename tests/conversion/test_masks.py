"""Conversions with masks: from PNGs beside the images to the features of records, and back."""

import importlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.conversion.convert import convert, too_many_bad
from ich_tf.conversion.dry_run import estimate
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.mask_labels import SliceMask, annotated_classes, of_slab
from ich_tf.conversion.mask_verification import mask_differences
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import ANY, CLASSES, read_labels
from ich_tf.records import data_files
from ich_tf.records.mask_images import encode_mask, read_mask
from ich_tf.records.schema import SliceRecord
from ich_tf.records.sidecar import read_sidecar
from tests.support.conversions import config_for, files_of, slice_records_of, write_part

# RSNA's ids are no valid UIDs.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

_BITS = 1 << np.arange(6)


@pytest.fixture(scope="module")
def study(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few phantoms with their masks, and their conversion in out/; shared."""
    folder = tmp_path_factory.mktemp("masks") / "set"
    write_part(phantom_dir, folder, slice(4))
    (folder / "masks").mkdir()
    for path in (folder / "stage_2_train").iterdir():
        shutil.copy2(phantom_dir / "stage_2_train_masks" / f"{path.stem}.png", folder / "masks")
    convert(config(folder))
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """`study`, to be changed."""
    return Path(shutil.copytree(study, tmp_path / "set"))


def config(folder: Path, **changes: object):
    changes = {"masks_dir": str(folder / "masks"), "num_folds": 2, **changes}
    return config_for(folder, folder / "out", **changes)


def by_id(folder: Path) -> dict[str, SliceRecord]:
    return {record.source_id: record for record in slice_records_of(folder / "out")}


def mask_lines(folder: Path) -> dict[str, tuple[str, str]]:
    """Mask -> reason and message, of those that are not used."""
    lines = map(json.loads, (folder / "out" / data_files.QUARANTINE).read_text().splitlines())
    return {
        line["path"]: (line["reason"], line["message"]) for line in lines if line["stage"] == "mask"
    }


def marked_ids(folder: Path) -> list[str]:
    """Images whose masks have pixels, those with most of them first."""
    counts = {path.stem: (cv2.imread(str(path), -1) > 0).sum() for path in masks_of(folder)}
    return sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])


def masks_of(folder: Path) -> list[Path]:
    return sorted((folder / "masks").iterdir())


def test_each_record_has_the_mask_of_its_image(study: Path) -> None:
    records, labels = by_id(study), read_labels(study / "stage_2_train.csv")
    assert len(records) == len(masks_of(study)) and verify(study / "out", full=True) == []
    assert mask_lines(study) == {}
    num_marked = 0
    for image_id, record in records.items():
        bits = cv2.imread(str(study / "masks" / f"{image_id}.png"), -1)
        marked = (bits & _BITS[:, None, None]) > 0
        assert record.annotated == 63
        assert marked.any(axis=(1, 2)).tolist() == labels.loc[image_id].astype(bool).tolist()
        rows, columns = record.spacing_mm
        areas = marked.sum(axis=(1, 2)) * rows * columns
        np.testing.assert_allclose(record.lesion_mm2, areas, rtol=1e-6)
        stored = read_mask(record)
        assert stored.shape == (32, 32) and bool(record.mask) == marked.any()
        num_marked += bool(record.mask)
        for k in range(6):
            covered = cv2.resize(marked[k].astype(np.float32), (32, 32), None, 0, 0, 3)
            expected = covered >= min(0.5, covered.max()) if marked[k].any() else covered > 0
            np.testing.assert_array_equal((stored >> k & 1) > 0, expected)
    assert num_marked > 5


def test_sidecars_and_manifest_add_the_masks_up(study: Path) -> None:
    records = list(by_id(study).values())
    content = json.loads((study / "out" / data_files.MANIFEST).read_text())["masks"]
    assert content["annotated"] == dict.fromkeys(CLASSES, len(records))
    for k, name in enumerate(CLASSES):
        assert content["marked"][name] == sum(record.lesion_mm2[k] > 0 for record in records)
    of_series: dict[str, list[SliceRecord]] = {}
    for record in records:
        of_series.setdefault(record.series_key, []).append(record)
    ml = 0.0
    for members in of_series.values():
        places = sorted(record.z_mm for record in members)
        areas = [r.lesion_mm2[ANY] for r in sorted(members, key=lambda r: r.z_mm)]
        ml += float(np.gradient(places) @ areas) / 1000
    assert content["ml"]["any"] == pytest.approx(ml, rel=1e-3) and ml > 1
    report = (study / "out" / data_files.REPORT).read_text()
    assert "<h2>Masks</h2>" in report
    features = json.loads((study / "out" / "features.json").read_text())["featuresDict"]
    assert {"segmentation/encoded", "ct/lesion_mm2"} <= set(features["features"])


def test_bad_masks_are_listed_and_their_images_converted(copy: Path) -> None:
    labels = read_labels(copy / "stage_2_train.csv")
    positive, *others = marked_ids(copy)
    empty = [path.stem for path in masks_of(copy) if path.stem not in marked_ids(copy)]
    folder = copy / "masks"
    small = np.zeros((8, 8), np.uint8)
    bad = {
        positive: ("MASK_SIZE", cv2.imencode(".png", small)[1].tobytes()),
        others[0]: ("MASK_FORMAT", b""),
        others[1]: ("MASK_FORMAT", cv2.imencode(".png", np.zeros((64, 64), np.uint16))[1]),
        others[2]: ("MASK_CLASS", cv2.imencode(".png", np.full((64, 64), 64, np.uint8))[1]),
        others[3]: ("MASK_CONFLICT", cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1]),
        empty[0]: ("MASK_CONFLICT", cv2.imencode(".png", np.full((64, 64), 255, np.uint8))[1]),
        empty[1]: ("MASK_UNREADABLE", (folder / f"{empty[1]}.png").read_bytes()[:40]),
        "ID_of_none": ("MASK_UNUSED", b""),
    }
    for name, (_, data) in bad.items():
        (folder / f"{name}.png").write_bytes(bytes(data))
    result = convert(config(copy, max_bad_fraction=0.0))
    assert result.rejections == {} and too_many_bad(result.rejections, 1, config(copy)) is None
    lines = mask_lines(copy)
    assert {name.removesuffix(".png"): reason for name, (reason, _) in lines.items()} == {
        name: reason for name, (reason, _) in bad.items()
    }
    assert "8 x 8 pixels; its image has 64 x 64" in lines[f"{positive}.png"][1]
    assert "labelled 0 and marked: any" in lines[f"{empty[0]}.png"][1]
    records = by_id(copy)
    assert len(records) == len(labels) and verify(copy / "out", full=True) == []
    for name in bad:
        if name == "ID_of_none":
            continue
        row = labels.loc[name].tolist()
        # Of a positive class nothing is known; a negative one is nowhere, but for the conflict.
        known = [not label for label in row]
        if name == empty[0]:
            known = [True] * ANY + [False]
        record = records[name]
        assert [bool(record.annotated >> k & 1) for k in range(6)] == known, name
        assert [not math.isnan(area) for area in record.lesion_mm2] == known
        assert record.mask == b""
    report = result.report()
    assert "mask not used: MASK_CONFLICT" in report and "left out" not in report
    assert lines[f"{others[2]}.png"][1] in (copy / "out" / data_files.REPORT).read_text()
    with pytest.raises(InputError, match="stage mask: MASK_UNUSED"):
        find_slice(copy / "out", "ID_of_none.png")


def test_a_record_whose_mask_is_not_the_planned_one_is_told(study: Path) -> None:
    plan, _ = load_plan(study / "out")
    name = marked_ids(study)[0]
    record = by_id(study)[name]
    planned = next(
        slice_ for shard in plan.shards for slice_ in shard.slices() if slice_.source_id == name
    )
    assert mask_differences(record, planned, ()) == []
    absent = record.lesion_mm2.index(0.0)
    areas = tuple(math.nan if k == absent else area for k, area in enumerate(record.lesion_mm2))
    less = replace(record, annotated=record.annotated & ~(1 << absent), lesion_mm2=areas)
    assert mask_differences(less, planned, ()) == ["annotated"]
    # A mask that was lost while the shard was written leaves less annotated than was planned.
    assert mask_differences(less, planned, {f"{name}.png"}) == []
    assert mask_differences(replace(record, lesion_mm2=areas), planned, ()) == ["lesion_mm2"]
    bits = np.full((32, 32), 1 << absent, np.uint8)
    assert mask_differences(replace(less, mask=encode_mask(bits)), planned, ()) == [
        "annotated",
        "mask",
    ]
    for bad in (b"PNG", encode_mask(bits[:8]), encode_mask(np.full((32, 32), 64, np.uint8))):
        assert mask_differences(replace(record, mask=bad), planned, ()) == ["mask"]


def test_a_changed_mask_rewrites_its_shard_alone(copy: Path) -> None:
    before = files_of(copy / "out")
    name = marked_ids(copy)[0]
    path = copy / "masks" / f"{name}.png"
    bits = cv2.imread(str(path), -1)
    bits[:2] |= bits.max()
    cv2.imwrite(str(path), bits)
    result = convert(config(copy))
    assert result.num_kept == result.num_shards - 1
    after = files_of(copy / "out")
    changed = [n for n in after if n.endswith(".tfrecord") and after[n] != before.get(n)]
    plan, _ = load_plan(copy / "out")
    shard = next(s.name for s in plan.shards if any(r.source_id == name for r in s.slices()))
    assert changed == [shard] and verify(copy / "out", full=True) == []


def test_a_mask_that_is_lost_while_it_is_written_is_tried_again(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files_of(copy / "out")
    name = marked_ids(copy)[0]
    path = copy / "masks" / f"{name}.png"
    shutil.rmtree(copy / "out")
    module = importlib.import_module("ich_tf.conversion.convert")
    write = module.write_shards

    def without(*arguments: object) -> None:
        path.rename(path.with_suffix(".gone"))
        write(*arguments)

    monkeypatch.setattr(module, "write_shards", without)
    convert(config(copy))
    monkeypatch.undo()
    assert mask_lines(copy)[path.name][0] == "MASK_UNREADABLE"
    assert by_id(copy)[name].mask == b""
    (problem,) = verify(copy / "out", full=True)
    assert f"lacks {path.name}, which is to be retried" in problem.description
    path.with_suffix(".gone").rename(path)
    convert(config(copy))
    again = files_of(copy / "out")
    # The plan has the path of the folder, which a copy has not.
    assert {name for name in whole if again[name] != whole[name]} == {"plan.json", "_SUCCESS"}


def test_a_repair_reads_the_masks_from_where_they_are(copy: Path) -> None:
    before = files_of(copy / "out")
    plan, _ = load_plan(copy / "out")
    shard = max(plan.shards, key=lambda shard: shard.num_slices).name
    (copy / "out" / shard).write_bytes(b"")
    (copy / "masks").rename(copy / "moved")
    with pytest.raises(InputError, match="nowhere: not found; give --masks_dir"):
        repair(copy / "out", [shard], str(copy / "stage_2_train"), 1, str(copy / "nowhere"))
    repair(copy / "out", [shard], str(copy / "stage_2_train"), 1, str(copy / "moved"))
    assert files_of(copy / "out") == before


def test_masks_come_and_go_and_leave_the_splits(copy: Path) -> None:
    plan, _ = load_plan(copy / "out")
    with_masks = files_of(copy / "out")
    convert(config(copy, masks_dir=""))
    bare, _ = load_plan(copy / "out")
    assert bare.patients == plan.patients and not bare.has_masks
    assert all(record.lesion_mm2 == () for record in by_id(copy).values())
    assert "masks" not in read_sidecar(next((copy / "out").glob("*.tfrecord"))).text()
    assert verify(copy / "out", full=True) == []
    convert(config(copy))
    names = [name for name in with_masks if name.endswith(".tfrecord")]
    assert {name: files_of(copy / "out")[name] for name in names} == {
        name: with_masks[name] for name in names
    }


def test_without_labels_only_the_mask_speaks(copy: Path) -> None:
    shutil.rmtree(copy / "out")
    gone = marked_ids(copy)[0]
    (copy / "masks" / f"{gone}.png").unlink()
    drawn = copy / "masks" / f"{marked_ids(copy)[0]}.png"
    cv2.imwrite(str(drawn), (cv2.imread(str(drawn), -1) > 0).astype(np.uint8) * 255)
    result = convert(config(copy, labels_csv=""))
    # The SOP instance UIDs of RSNA's files are not valid: their names are those of the masks.
    records = slice_records_of(copy / "out")
    assert sorted({record.annotated for record in records}) == [0, 32, 63]
    assert sum(record.annotated == 0 for record in records) == 1
    assert result.masks["annotated"]["any"] == len(records) - 1


def test_a_slab_has_the_masks_of_all_its_slices(copy: Path) -> None:
    shutil.rmtree(copy / "out")
    convert(config(copy, slab_mm=12.0))
    assert verify(copy / "out", full=True) == []
    plan, _ = load_plan(copy / "out")
    slabs = {
        planned.source_id: [name.rsplit("/")[-1].rsplit(".")[0] for name, _, _ in planned.members]
        for shard in plan.shards
        for planned in shard.slices()
        if planned.members
    }
    records, checked = by_id(copy), 0
    for source_id, members in slabs.items():
        masks = [cv2.imread(str(copy / "masks" / f"{name}.png"), -1) for name in members]
        rows, columns = records[source_id].spacing_mm
        expected = np.mean([(mask & 32 > 0).sum() for mask in masks]) * rows * columns
        union = np.bitwise_or.reduce(masks) & 32 > 0
        assert read_mask(records[source_id]).any() == union.any()
        assert records[source_id].lesion_mm2[ANY] == pytest.approx(expected, rel=1e-6)
        checked += expected > 0
    assert checked


def test_a_dry_run_tells_of_masks(copy: Path) -> None:
    shutil.rmtree(copy / "out")
    (copy / "masks" / "ID_of_none.png").write_bytes(b"")
    report = estimate(config(copy)).report()
    assert f"masks: {len(masks_of(copy)) - 1} slices have one" in report
    assert "MASK_UNUSED" in report


def test_an_inspected_slice_shows_its_mask(study: Path) -> None:
    name = marked_ids(study)[0]
    trace = find_slice(study / "out", name)
    content = trace.describe()
    assert content["masks"] == [f"{name}.png"] and content["annotated"] == list(CLASSES)
    assert content["lesion_mm2"]["any"] > 0
    assert trace.picture().shape == (32 + 20, 4 * 32)


@pytest.mark.parametrize("place", ["stage_2_train", ".", "out/masks"])
def test_masks_lie_in_a_folder_of_their_own(study: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="masks_dir is .* a folder of masks alone"):
        convert(config(study, masks_dir=str(study / place)))


def test_a_folder_of_masks_that_is_missing(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: cannot be listed .* for --masks_dir"):
        convert(config(study, masks_dir=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("mask", "labels", "annotated", "conflicts"),
    [
        (SliceMask(), None, 0, ()),
        (SliceMask(annotated=32), None, 63, ()),  # no bleed is no subtype either
        (SliceMask(annotated=32, marked=32), None, 32, ()),
        (SliceMask(annotated=31, marked=4), None, 63, ()),  # all subtypes are any
        (SliceMask(annotated=4, marked=4), None, 4, ()),
        (SliceMask(annotated=4, marked=4), (0, 0, 1, 0, 0, 1), 63, ()),
        (SliceMask(annotated=32), (0, 0, 1, 0, 0, 1), 27, (2, 5)),
        (SliceMask(annotated=63, marked=36), (0, 0, 1, 0, 1, 1), 47, (4,)),
        (SliceMask(annotated=63, marked=48), (0, 0, 0, 0, 0, 0), 15, (4, 5)),
    ],
)
def test_labels_and_masks_are_joined(
    mask: SliceMask, labels: tuple[int, ...] | None, annotated: int, conflicts: tuple[int, ...]
) -> None:
    assert annotated_classes(mask, labels) == (annotated, conflicts)


def test_a_slab_is_annotated_where_all_its_slices_are() -> None:
    first = SliceMask((("a", "1"),), annotated=63, marked=33)
    second = SliceMask((("b", "2"),), annotated=32, marked=0)
    assert of_slab([first, second]) == SliceMask((("a", "1"), ("b", "2")), 32, 33)
    assert of_slab([first, SliceMask()]) == SliceMask((("a", "1"),), 0, 33)
