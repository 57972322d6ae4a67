"""One DICOM file -> the images that a model sees. Runs in workers, which load no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ich_tf.dicom.crop import Box, cut
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_slices
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.sources import Source
from ich_tf.windows import apply_windows, preset_windows, store_hu


@dataclass(frozen=True)
class ReadTask:
    """A file to read in a worker.

    Attributes:
      source: The file.
      image_size: What the model was trained on.
      windows: Likewise; empty where the model applies them itself, to stored Hounsfield units.
      crops: Frame (0 in a file of one slice) -> what to cut out; nothing for a whole image.
    """

    source: Source
    image_size: int
    windows: tuple[str, ...]
    crops: Mapping[int, Box] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReadSlice:
    """What a worker makes of a file, or of a frame of it.

    Attributes:
      source: The file.
      header: Where the slice is; None if the file gave none.
      image: uint8 [h, w, C], without windows uint16 [h, w, 1]; or None.
      reason, message: Why there is no image.
    """

    source: Source
    header: Header | None = None
    image: np.ndarray | None = None
    reason: str = ""
    message: str = ""


def seen_image(hu: np.ndarray, box: Box, size: int, windows: Sequence[str]) -> np.ndarray:
    """A slice as a model sees it, without its neighbours.

    Args:
      hu: Hounsfield units, float32 [H, W].
      box: What to cut out; empty for all.
      size: Rows and columns of the result.
      windows: Names of presets; none where the model applies them itself.

    Returns:
      uint8 [size, size, C], without windows the stored form, uint16 [size, size, 1].
    """
    stored = store_hu(cut(hu, box), size)
    return apply_windows(stored, preset_windows(windows)) if windows else stored[..., None]


def read_task(task: ReadTask) -> list[ReadSlice]:
    """Reads and windows one file: its slice, its frames, or why there are none."""
    try:
        found = []
        for one in read_slices(task.source.read()):
            box = task.crops.get(one.header.frame, ())
            image = seen_image(one.hu, box, task.image_size, task.windows)
            found.append(ReadSlice(task.source, one.header, image))
        return found
    except DicomError as error:
        return [ReadSlice(task.source, reason=error.reason.value, message=str(error))]
