"""TFRecords of CT slices: schema, encoding, shards, manifest, splits, batches.

A record is a `tf.train.Example` and holds one slice. `encode` writes and `decode` reads a record
without TensorFlow; `parse` reads batches in a TensorFlow graph. `SliceDataset` reads the slices of
a conversion by number. Importing the package loads no TensorFlow.
"""

from ich_tf.records.example import decode, decode_example, encode, encode_example, parse
from ich_tf.records.images import decode_image, encode_image, read_image
from ich_tf.records.mask_images import encode_mask, read_mask
from ich_tf.records.schema import (
    CROPS,
    ENCODINGS,
    FEATURES,
    LOSSY,
    SCHEMA_VERSION,
    CorruptRecordError,
    SliceRecord,
)
from ich_tf.records.slice_dataset import LabelledSlice, SliceDataset

__all__ = [
    "CROPS",
    "ENCODINGS",
    "FEATURES",
    "LOSSY",
    "SCHEMA_VERSION",
    "CorruptRecordError",
    "LabelledSlice",
    "SliceDataset",
    "SliceRecord",
    "decode",
    "decode_example",
    "decode_image",
    "encode",
    "encode_example",
    "encode_image",
    "encode_mask",
    "parse",
    "read_image",
    "read_mask",
]
