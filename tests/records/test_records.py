from dataclasses import asdict, replace

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.records.example import decode, encode, parse
from ich_tf.records.images import decode_image, encode_image, read_image
from ich_tf.records.known_labels import known_labels, known_labels_graph
from ich_tf.records.schema import (
    ENCODINGS,
    EXAM_FIELDS,
    FEATURES,
    MASK_FIELDS,
    CorruptRecordError,
    SliceRecord,
)

RECORD = SliceRecord(
    encoded=b"\x00\xff pixels",
    format="png",
    height=300,
    width=256,
    channels=3,
    source_id="ID_00ff",
    sha256="ab" * 32,
    labels=(0, 1, 0, 0, 0, 1),
    label_present=1,
    patient_key="ID_1",
    study_key="ID_2",
    series_key="ID_3",
    slice_index=0,
    num_slices=2**40,
    z_mm=-12.5,
    spacing_mm=(0.5, 0.25),
    gantry_tilt_deg=-18.5,
    scanner="GE",
    repairs=("rsna_12bit", "other"),
    crop=(10, 0, 300, 300),
    kernel="soft",
    thickness_mm=5.0,
    contrast="no",
    origin="original",
    content="axial",
    slab=8,
)

WITH_MASK = replace(
    RECORD, mask=b"\x89PNG \xff", annotated=0b100011, lesion_mm2=(0.0, 120.5, 0.0, 0.0, 0.0, 120.5)
)

WITH_EXAM = replace(
    WITH_MASK,
    labels=(0, 1, 0, 0, 0, 0),
    labels_known=0b000110,
    exam_labels=(0.0, 1.0, np.nan, 1 / 3, 0.0, 1.0),
    label_level="study",
    schema_version=5,
)


def of_version_2(record: SliceRecord) -> bytes:
    """A record as version 2 wrote it."""
    example = tf.train.Example.FromString(encode(replace(record, schema_version=2)))
    for name in ("kernel", "thickness_mm", "contrast", "origin", "content", "slab"):
        del example.features.feature[f"ct/{name}"]
    return example.SerializeToString(deterministic=True)


def test_records_of_version_2_are_read_with_defaults() -> None:
    record = decode(of_version_2(RECORD))
    assert (record.schema_version, record.slab, record.thickness_mm) == (2, 1, 0.0)
    assert {record.kernel, record.contrast, record.origin, record.content} == {"unknown"}
    assert record.source_id == RECORD.source_id
    fields = parse(tf.constant([of_version_2(RECORD), encode(RECORD)]))
    assert fields["kernel"].numpy().tolist() == [b"unknown", b"soft"]
    assert fields["slab"].numpy().tolist() == [1, 8]
    example = tf.train.Example.FromString(encode(RECORD))
    del example.features.feature["ct/kernel"]
    with pytest.raises(CorruptRecordError, match="ct/kernel is missing"):
        decode(example.SerializeToString(deterministic=True))


def test_tensorflow_reads_what_was_encoded_without_it() -> None:
    fields = parse(tf.constant(encode(WITH_EXAM)))
    for name, value in asdict(WITH_EXAM).items():
        found = fields[name]
        if name == "crop":
            assert found.values.numpy().tolist() == list(value)
        elif name == "repairs":
            assert [one.decode() for one in found.values.numpy()] == list(value)
        elif isinstance(value, str):
            assert found.numpy().decode() == value
        elif isinstance(value, bytes):
            assert found.numpy() == value
        else:
            np.testing.assert_allclose(found.numpy(), value)


def test_the_bytes_are_a_canonical_example() -> None:
    """The same features through TensorFlow's own protobuf classes, keys sorted."""
    example = tf.train.Example.FromString(encode(RECORD))
    names = {name for name, _, _ in FEATURES.values()}
    mask_names = {FEATURES[field][0] for field in MASK_FIELDS}
    exam_names = {FEATURES[field][0] for field in EXAM_FIELDS}
    assert set(example.features.feature) == names - mask_names - exam_names
    with_mask = tf.train.Example.FromString(encode(WITH_MASK))
    assert set(with_mask.features.feature) == names - exam_names
    with_exam = tf.train.Example.FromString(encode(WITH_EXAM))
    assert set(with_exam.features.feature) == names
    assert with_exam.SerializeToString(deterministic=True) == encode(WITH_EXAM)
    assert with_mask.SerializeToString(deterministic=True) == encode(WITH_MASK)
    assert example.features.feature["image/class/multilabel"].int64_list.value == [0, 1, 0, 0, 0, 1]
    assert example.SerializeToString(deterministic=True) == encode(RECORD)


def test_records_without_masks_are_those_of_version_3_but_for_the_version() -> None:
    fields = parse(tf.constant([encode(RECORD), encode(WITH_MASK)]))
    assert fields["mask"].numpy().tolist() == [b"", WITH_MASK.mask]
    assert fields["annotated"].numpy().tolist() == [0, 0b100011]
    assert np.isnan(fields["lesion_mm2"][0]).all() and fields["lesion_mm2"][1, 1] == 120.5
    assert len(encode(RECORD)) == len(encode(replace(RECORD, schema_version=3)))
    example = tf.train.Example.FromString(encode(WITH_MASK))
    del example.features.feature["segmentation/annotated"]
    with pytest.raises(CorruptRecordError, match="segmentation/annotated is missing"):
        decode(example.SerializeToString(deterministic=True))


def test_unknown_labels_are_nan_and_never_negative() -> None:
    records = [RECORD, replace(RECORD, label_present=0, labels=(0,) * 6), WITH_EXAM]
    nan = np.nan
    expected = [[0, 1, 0, 0, 0, 1], [nan] * 6, [nan, 1, 0, nan, nan, nan]]
    fields = parse(tf.constant([encode(record) for record in records]))
    np.testing.assert_array_equal(known_labels_graph(fields), expected)
    np.testing.assert_array_equal([known_labels(record) for record in records], expected)
    assert np.isnan(fields["exam_labels"][:2]).all()
    decoded = decode(encode(WITH_EXAM))
    np.testing.assert_array_equal(decoded.exam_labels, np.float32(WITH_EXAM.exam_labels))
    example = tf.train.Example.FromString(encode(WITH_EXAM))
    del example.features.feature["ct/label_level"]
    with pytest.raises(CorruptRecordError, match="ct/label_level is missing"):
        decode(example.SerializeToString(deterministic=True))


def test_negative_and_empty_values() -> None:
    record = replace(RECORD, slice_index=-1, repairs=(), source_id="")
    fields = parse(tf.constant([encode(record), encode(RECORD)]))
    np.testing.assert_array_equal(fields["slice_index"].numpy(), [-1, 0])
    assert fields["repairs"].dense_shape.numpy().tolist() == [2, 2]
    assert len(fields["repairs"].values) == 2


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="multilabel"):
        encode(replace(RECORD, labels=(0, 1)))


@pytest.mark.parametrize("encoding", ["png", "raw"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_survive_every_encoding(encoding: str, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (17, 19, channels), dtype=np.uint8)
    encoded = encode_image(image, encoding)
    eager = decode_image(tf.constant(encoded), encoding, image.shape)
    np.testing.assert_array_equal(eager.numpy(), image)
    mapped = tf.data.Dataset.from_tensors(encoded).map(
        lambda one: decode_image(one, encoding, image.shape)
    )
    np.testing.assert_array_equal(next(iter(mapped)).numpy(), image)


def test_unknown_formats() -> None:
    with pytest.raises(ValueError, match="gif"):
        encode_image(np.zeros((2, 2, 3), np.uint8), "gif")
    with pytest.raises(InputError, match="webp"):
        decode_image(tf.constant(b""), "webp", (2, 2, 3))


def test_decoding_without_tensorflow_gives_the_record_back() -> None:
    for record in (
        RECORD,
        WITH_MASK,
        replace(RECORD, slice_index=-(2**62), repairs=(), crop=(), labels=(0,) * 6),
    ):
        assert decode(encode(record)) == record


def test_what_is_no_record_is_refused() -> None:
    good = encode(RECORD)
    example = tf.train.Example.FromString(good)
    del example.features.feature["ct/z_mm"]
    more = tf.train.Example.FromString(good)
    more.features.feature["other"].int64_list.value.append(1)
    for bad in (
        b"",
        good[:-1],
        good[1:],
        good + b"\x00",
        example.SerializeToString(),
        more.SerializeToString(),
    ):
        with pytest.raises(CorruptRecordError):
            decode(bad)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_numpy_and_tensorflow_read_the_same_image(encoding: str, channels: int) -> None:
    dtype = np.uint16 if encoding == "hu16" else np.uint8
    channels = 1 if encoding == "hu16" else channels
    y, x = np.mgrid[:24, :32]
    image = np.stack([(y * 5 + x * (i + 1)) % 200 for i in range(channels)], -1).astype(dtype)
    encoded = encode_image(image, encoding)
    record = replace(
        RECORD, encoded=encoded, format=encoding, height=24, width=32, channels=channels
    )
    found = read_image(record)
    np.testing.assert_array_equal(
        found, decode_image(tf.constant(encoded), encoding, (24, 32, channels)).numpy()
    )
    if encoding == "jpeg":
        assert np.abs(found.astype(int) - image).mean() < 8
    else:
        np.testing.assert_array_equal(found, image)
    with pytest.raises(CorruptRecordError, match="24 x 33"):
        read_image(replace(record, width=33))


@pytest.mark.parametrize(
    ("encoding", "channels"), [("png", 3), ("png", 2), ("hu16", 1), ("jpeg", 3)]
)
def test_an_image_of_another_size_is_not_decoded(encoding: str, channels: int) -> None:
    """CWE-409: megabytes of a stranger's record would become gigabytes before they are seen."""
    dtype = np.uint16 if encoding == "hu16" else np.uint8
    encoded = encode_image(np.zeros((64, 48, channels), dtype), encoding)
    assert decode_image(tf.constant(encoded), encoding, (64, 48, channels)).shape[0] == 64
    for shape in ((64, 96, channels), (48, 64, channels), (8, 8, channels)):
        # Whatever was decoded would have failed where it is given its shape.
        with pytest.raises(tf.errors.InvalidArgumentError, match="(?i)decode|image") as error:
            decode_image(tf.constant(encoded), encoding, shape)
        assert "reshape" not in str(error.value).lower()
