"""Serialized records: TensorFlow's parser reads ours, ours reads its, and damage is told."""

import dataclasses
import math
import struct
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.labels import CLASSES
from ich_tf.records.example import decode, decode_example, encode, encode_example
from ich_tf.records.schema import FEATURES, CorruptRecordError, SliceRecord
from tests.support.strategies import damaged, file_texts, refused_in_a_paragraph

int64s = st.integers(-(2**63), 2**63 - 1)
float32s = st.floats(width=32)
texts = file_texts(12)


@st.composite
def records(draw: st.DrawFn) -> SliceRecord:
    """Any record that the schema allows."""
    values: dict[str, Any] = {}
    kinds = {bytes: texts, int: int64s, float: st.floats(width=32, allow_nan=False)}
    for field, (_, kind, count) in FEATURES.items():
        strategy: Any = st.binary(max_size=20) if field in ("encoded", "mask") else kinds[kind]
        if count == 1:
            values[field] = draw(strategy)
        else:
            least, most = (0, 4) if count is None else (count, count)
            values[field] = tuple(draw(st.lists(strategy, min_size=least, max_size=most)))
    values["schema_version"] = draw(st.sampled_from((2, 3, 4, 5)))
    if not draw(st.booleans()):
        values.update(mask=b"", annotated=0, lesion_mm2=())
    if not draw(st.booleans()):
        values.update(labels_known=-1, exam_labels=(), label_level="")
    return SliceRecord(**values)


@given(records())
def test_a_record_comes_back(record: SliceRecord) -> None:
    assert decode(encode(record)) == record
    assert encode(record) == encode(dataclasses.replace(record)), "the same bytes each time"


@given(records())
def test_tensorflow_reads_the_same(record: SliceRecord) -> None:
    features = tf.train.Example.FromString(encode(record)).features.feature
    for field, (name, kind, _) in FEATURES.items():
        value = getattr(record, field)
        values = value if isinstance(value, tuple) else (value,)
        if name not in features:
            assert value in (b"", 0, (), -1, ""), field
            continue
        lists = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
        theirs = [*getattr(features[name], lists[kind]).value]
        assert theirs == [v.encode() if isinstance(v, str) else v for v in values], field


features_of_any_kind = st.dictionaries(
    file_texts(8),
    st.one_of(
        st.tuples(st.just(bytes), st.lists(st.binary(max_size=8), max_size=4)),
        st.tuples(st.just(int), st.lists(int64s, max_size=4)),
        st.tuples(st.just(float), st.lists(float32s, max_size=4)),
    ),
    max_size=4,
)


def theirs(features: dict[str, tuple[type, list[Any]]]) -> tf.train.Example:
    made = tf.train.Example()
    for name, (kind, values) in features.items():
        feature = made.features.feature[name]
        lists = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
        lists[kind].value.extend(values)
        lists[kind].SetInParent()
    return made


def bits(kind: type, values: Any) -> Any:
    """Values that compare as they are stored: NaN is itself."""
    return [struct.pack("<f", value) for value in values] if kind is float else [*values]


@given(features_of_any_kind)
@example({"\u00e9": (int, [])})
@example({"": (float, [math.nan])})
@example({"a": (bytes, [b""])})
def test_examples_of_any_features_come_back(features: dict[str, tuple[type, list[Any]]]) -> None:
    payload = encode_example(features)
    read = decode_example(payload)
    assert set(read) == set(features)
    for name, (kind, values) in features.items():
        assert bits(kind, read[name]) == bits(kind, values)
    made = tf.train.Example.FromString(payload)
    expected = theirs(features)
    expected.features.SetInParent()
    assert made.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@given(features_of_any_kind)
def test_examples_that_tensorflow_wrote_are_read(
    features: dict[str, tuple[type, list[Any]]],
) -> None:
    read = decode_example(theirs(features).SerializeToString())
    assert {name: bits(kind, read[name]) for name, (kind, _) in features.items()} == {
        name: bits(kind, values) for name, (kind, values) in features.items()
    }


@given(st.data())
def test_a_damaged_record_is_a_record_or_refused(data: st.DataObject) -> None:
    payload = data.draw(damaged(encode(data.draw(records()))))
    with refused_in_a_paragraph():
        check_types(decode(payload))
    with refused_in_a_paragraph():
        decode_example(payload)


@given(st.binary(max_size=40))
@example(b"")
@example(b"\x0a\x00")
@example(b"\x0a" + b"\xff" * 5000 + b"\x01")
def test_any_bytes_are_a_record_or_refused(payload: bytes) -> None:
    with refused_in_a_paragraph():
        check_types(decode(payload))
    with refused_in_a_paragraph():
        decode_example(payload)


@given(st.data())
def test_a_feature_of_another_type_is_refused(data: st.DataObject) -> None:
    record = data.draw(records())
    features = {
        name: [kind, getattr(record, field)]
        for field, (name, kind, _) in FEATURES.items()
        if getattr(record, field) != ()
    }
    for feature in features.values():
        value = feature[1]
        feature[1] = [*value] if isinstance(value, tuple) else [value]
    name = data.draw(st.sampled_from(sorted(features)))
    kind, values = features[name]
    other, value = data.draw(st.sampled_from(((bytes, b"a"), (int, 1), (float, 0.5))))
    features[name] = [other, [value] * len(values)]
    if other is kind or not values:
        return
    made = encode_example({name: (kind, values) for name, (kind, values) in features.items()})
    with pytest.raises(CorruptRecordError, match="is no record"):
        check_types(decode(made))


def check_types(record: SliceRecord) -> None:
    """Every field has the type of the schema, and fits it."""
    for field, (_, kind, count) in FEATURES.items():
        value = getattr(record, field)
        values = value if isinstance(value, tuple) else (value,)
        assert count is None or len(values) == count or value == (), field
        binary = kind is bytes and field in ("encoded", "mask")
        assert all(type(v) is (str if kind is bytes and not binary else kind) for v in values), (
            field
        )
        if kind is int:
            assert all(-(2**63) <= v < 2**63 for v in values), field
    np.asarray(record.labels, np.int64)
    assert len(record.labels) == len(CLASSES)
