"""plan.json and splits.json: what is read is what was written; any change is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.conversion.plan import (
    Plan,
    PlannedSeries,
    PlannedShard,
    PlannedSlice,
    SeriesKind,
    load_plan,
    save_plan,
)
from ich_tf.dicom.reasons import Rejection
from ich_tf.records.data_files import PLAN, SPLITS
from ich_tf.records.dealt_splits import load_splits, save_splits
from tests.support.strategies import damaged, mutated_json, odd_texts, refused_in_a_paragraph

# File names are any bytes, surrogates inside.
names = st.binary(max_size=9).map(lambda name: name.decode("utf-8", "surrogateescape"))
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
small = st.integers(0, 9)
slices = st.builds(
    PlannedSlice,
    name=names,
    source_id=keys,
    patient_key=st.just(""),
    study_key=st.just(""),
    series_key=st.just(""),
    slice_index=st.just(0),
    num_slices=st.just(0),
    z_mm=st.floats(-1e6, 1e6),
    labels=st.one_of(st.none(), st.tuples(*[st.sampled_from((0, 1, None))] * 6)),
    frame=small,
    crop=st.one_of(st.just(()), st.tuples(small, small, small, small)),
    alternates=st.lists(names, max_size=2).map(tuple),
    members=st.lists(st.tuples(names, small, keys), max_size=2).map(tuple),
    digest=keys,
    annotated=st.integers(0, 63),
    masks=st.lists(st.tuples(names, keys, small), max_size=2).map(tuple),
)
exams = st.one_of(
    st.just(((), "")),
    st.tuples(
        st.tuples(*[st.one_of(st.none(), st.floats(0, 1))] * 6),
        st.sampled_from(("slice", "study", "")),
    ),
)


@st.composite
def series(draw: st.DrawFn) -> PlannedSeries:
    packed = PlannedSeries.pack(
        draw(st.tuples(keys, keys, keys)), draw(st.lists(slices, max_size=3))
    )
    labels, level = draw(exams)
    return PlannedSeries(packed.keys, packed.num_slices, packed.packed, labels, level)


@st.composite
def some_plans(draw: st.DrawFn) -> Plan:
    shards = tuple(
        PlannedShard(f"fold-{i}-00000-of-00001.tfrecord", f"fold-{i}", tuple(members))
        for i, members in enumerate(draw(st.lists(st.lists(series(), max_size=2), max_size=2)))
    )
    rejections = st.builds(Rejection, names, st.just("plan"), st.just("NOT_CT"), keys)
    kinds = st.builds(
        SeriesKind,
        keys,
        keys,
        keys,
        keys,
        st.floats(0, 50),
        keys,
        num_series=small,
        num_slices=small,
    )
    config: dict[str, Any] = {"schema_version": 4, "num_folds": 2, "windows": ["brain"]}
    has_masks = draw(st.booleans())
    if has_masks:
        config["mask_format"] = "auto"
    return Plan(
        config=config,
        shards=shards,
        patients=draw(st.dictionaries(keys, st.lists(keys, max_size=2), max_size=2)),
        rejections=tuple(draw(st.lists(rejections, max_size=2))),
        num_inputs=draw(small),
        kinds=tuple(draw(st.lists(kinds, max_size=2))),
        mask_rejections=tuple(draw(st.lists(rejections, max_size=2))) if has_masks else (),
        masks_dir=draw(names) if has_masks else "",
    )


@given(some_plans(), names)
def test_a_plan_comes_back(folder: Path, plan: Plan, source: str) -> None:
    path = Path(source or "x")
    save_plan(folder, plan, path)
    read, from_ = load_plan(folder)
    assert read == plan
    assert str(from_) == str(path)
    assert [[*shard.slices()] for shard in read.shards] == [
        [*shard.slices()] for shard in plan.shards
    ]


@given(st.data())
def test_a_damaged_plan_is_the_same_or_refused(folder: Path, data: st.DataObject) -> None:
    plan = data.draw(some_plans())
    save_plan(folder, plan, Path("source"))
    (folder / PLAN).write_bytes(data.draw(damaged((folder / PLAN).read_bytes())))
    with refused_in_a_paragraph(folder / PLAN):
        read, _ = load_plan(folder)
        assert read == plan, "another plan under the hash of the first"


@given(st.data())
def test_a_changed_shard_is_a_shard_or_no_json_of_one(data: st.DataObject) -> None:
    series_ = tuple(data.draw(st.lists(series(), min_size=1, max_size=2)))
    shard = PlannedShard("test-00000-of-00001.tfrecord", "test", series_)
    text = data.draw(mutated_json(json.loads(shard.json_text())))
    try:
        read = PlannedShard.from_json(text)
    except ValueError:
        return
    # As whoever writes or verifies it does.
    for slice_ in read.slices():
        assert slice_.paths
        assert [part.path for part in slice_.parts()]
        assert all(
            type(name) is str for name in (slice_.name, slice_.source_id, *slice_.alternates)
        )
    read.file_names()
    assert PlannedShard.from_json(read.json_text()) == read


@pytest.mark.parametrize("labels", ([None] * 5, [1e400, *[0] * 5], [-0.1, *[0] * 5], [2] * 6, []))
def test_labels_of_an_exam_are_six_in_range(labels: list[float | None]) -> None:
    exam = {"labels": labels, "level": "study"}
    content = {"keys": ["a", "b", "c"], "exam": exam, "slices": []}
    line = {"name": "test-00000-of-00001.tfrecord", "split": "test", "series": [content]}
    text = json.dumps(line).replace("Infinity", "1e400")
    with pytest.raises(ValueError, match="labels of an exam"):
        PlannedShard.from_json(text)


@given(st.data())
def test_a_changed_head_is_a_head_or_refused(folder: Path, data: st.DataObject) -> None:
    save_plan(folder, data.draw(some_plans()), Path("source"))
    first, _, rest = (folder / PLAN).read_text("utf-8").partition("\n")
    end = ', "shards": ['
    head = json.loads(first.removesuffix(end) + "}")
    text = data.draw(mutated_json(head)).replace("\n", " ")
    (folder / PLAN).write_text(f"{text.rstrip()[:-1]}{end}\n{rest}", "utf-8")
    with refused_in_a_paragraph(folder / PLAN):
        plan, _ = load_plan(folder)
        assert plan.sha256


splits = st.dictionaries(odd_texts(), st.sampled_from(("test", "fold-0", "fold-1")), max_size=4)


@given(splits)
@example({"\ud800": "test"})
@example({"a\rb": "fold-0"})
@example({"\u0085": "fold-0"})
def test_splits_come_back(folder: Path, known: dict[str, str]) -> None:
    save_splits(folder, known)
    assert load_splits(folder) == known


@given(st.data())
def test_changed_splits_are_the_same_or_refused(folder: Path, data: st.DataObject) -> None:
    known = data.draw(splits.filter(bool))
    save_splits(folder, known)
    valid = (folder / SPLITS).read_bytes()
    changed = st.one_of(
        mutated_json(json.loads(valid)).map(lambda text: text.encode("utf-8", "surrogatepass")),
        damaged(valid),
        st.binary(max_size=30),
    )
    (folder / SPLITS).write_bytes(data.draw(changed))
    with refused_in_a_paragraph(folder / SPLITS):
        assert load_splits(folder) == known
