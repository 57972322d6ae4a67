"""What reading damaged records gives, and whether that is right. Runs in a sandbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ich_tf.errors import InputError
from ich_tf.records import example, tfrecord
from ich_tf.records.images import read_image
from ich_tf.records.mask_images import read_mask
from ich_tf.records.schema import SliceRecord
from tools.fuzzing.record_seeds import SHARD, record_of
from tools.fuzzing.volume_judging import WRONG


def judge_records(name: str, data: bytes, folder: Path) -> list[str]:
    """Reads an input as training, evaluation and inspection do.

    Args:
      name: Name of the file, which tells what it is: a shard, or a picture of an encoding.
      data: Its bytes.
      folder: Folder to write it to.

    Returns:
      For each record `image` or `refused`, or a text that begins with `WRONG`.
    """
    if not name.startswith(SHARD):
        return [_judge(record_of(name, data))]
    path = folder / name
    path.write_bytes(data)
    outcomes: list[str] = []
    try:
        outcomes.extend(_judge(example.decode(each)) for each in tfrecord.read_records(path))
    except InputError:
        outcomes.append("refused")
    return outcomes


def _judge(record: SliceRecord) -> str:
    try:
        image, mask = read_image(record), read_mask(record)
    except InputError:
        return "refused"
    shape = record.height, record.width, record.channels
    dtype = np.uint16 if record.format == "hu16" else np.uint8
    if image.shape != shape or image.dtype != dtype or mask.shape != shape[:2]:
        return f"{WRONG}: {image.shape} of {image.dtype} where {shape} is told"
    return "image"
