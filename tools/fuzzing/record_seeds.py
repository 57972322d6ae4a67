"""Good shards of each encoding, small enough to damage thousands of, and the pictures in them."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from ich_tf.records import example, tfrecord
from ich_tf.records.images import encode_image
from ich_tf.records.mask_images import encode_mask
from ich_tf.records.schema import SliceRecord

SIZE = 16
# What begins the name of a file that holds records, and of one that is a record's picture.
SHARD, PICTURE = "shard", "picture"
_MASK = "mask"


@functools.cache
def good_records() -> dict[str, tuple[str, bytes]]:
    """A shard and a picture of each encoding, by its name: name of the file, and its bytes."""
    rng = np.random.default_rng(0)
    found: dict[str, tuple[str, bytes]] = {}
    for encoding, channels in (("png", 3), ("png", 1), ("jpeg", 3), ("raw", 3), ("hu16", 1)):
        dtype = np.uint16 if encoding == "hu16" else np.uint8
        image = rng.integers(0, np.iinfo(dtype).max, (SIZE, SIZE, channels)).astype(dtype)
        picture = encode_image(image, encoding)
        mask = encode_mask(rng.integers(0, 64, (SIZE, SIZE)).astype(np.uint8))
        record = _record(picture, encoding, channels, mask)
        records = [record, replace(record, source_id="ID_2", slice_index=1)]
        shard = b"".join(tfrecord.frame(example.encode(each)) for each in records)
        name = f"{encoding} of {channels}"
        found[f"shard, {name}"] = (f"{SHARD}.tfrecord", shard)
        if encoding != "raw":
            found[f"picture, {name}"] = (f"{PICTURE}.{encoding}.{channels}", picture)
    found["picture, mask"] = (f"{PICTURE}.{_MASK}.1", mask)
    return found


def record_of(name: str, picture: bytes) -> SliceRecord:
    """A record around a picture or mask whose name tells its encoding and channels."""
    _, encoding, channels = name.split(".")
    if encoding == _MASK:
        return _record(bytes(SIZE * SIZE), "raw", 1, picture)
    return _record(picture, encoding, int(channels), b"")


def _record(picture: bytes, encoding: str, channels: int, mask: bytes) -> SliceRecord:
    return SliceRecord(
        encoded=picture,
        format=encoding,
        height=SIZE,
        width=SIZE,
        channels=channels,
        source_id="ID_1",
        sha256="0" * 64,
        labels=(0,) * 6,
        label_present=1,
        patient_key="ID_p",
        study_key="ID_t",
        series_key="ID_s",
        slice_index=0,
        num_slices=2,
        z_mm=0.0,
        spacing_mm=(0.5, 0.5),
        gantry_tilt_deg=0.0,
        scanner="other",
        repairs=(),
        mask=mask,
        annotated=63 if mask else 0,
        lesion_mm2=(1.0,) * 6 if mask else (),
    )
