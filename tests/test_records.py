from dataclasses import asdict, replace

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.records import FEATURES, SliceRecord, decode_image, encode, encode_image, parse

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
    repairs=("rsna_12bit", "other"),
)


def test_tensorflow_reads_what_was_encoded_without_it() -> None:
    fields = parse(tf.constant(encode(RECORD)))
    for name, value in asdict(RECORD).items():
        found = fields[name]
        if name == "repairs":
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
    assert set(example.features.feature) == names
    assert example.features.feature["image/class/multilabel"].int64_list.value == [0, 1, 0, 0, 0, 1]
    assert example.SerializeToString(deterministic=True) == encode(RECORD)


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
    with pytest.raises(InputError, match="jpeg"):
        decode_image(tf.constant(b""), "jpeg", (2, 2, 3))
