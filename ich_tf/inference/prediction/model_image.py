"""Images of DICOM slices as a model reads them. The code runs in workers, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ich_tf.dicom.brain_area import brain_mm2
from ich_tf.dicom.crop import Box, cut
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import READER_DIED, DicomError, Reason
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.windows import apply_windows, preset_windows, store_hu


@dataclass(frozen=True)
class ImageTask:
    """A file to read in a worker.

    Attributes:
      number: Place of the file in the list of sources.
      source: The file.
      image_size: Rows and columns of the images, px.
      windows: Names of window presets; empty for a model that applies them to stored Hounsfield
        units.
      crops: Frame (0 in a file of one slice) -> box to cut out, empty for the whole slice. Other
        frames are not read; an empty mapping reads all, whole.
    """

    number: int
    source: Source
    image_size: int
    windows: tuple[str, ...]
    crops: Mapping[int, Box] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ModelSlice:
    """A slice as a model reads it.

    Attributes:
      source: Place of its file in the list of sources.
      header: Identifiers and geometry of the slice.
      image: uint8 [H, W, C], without windows uint16 [H, W, 1]; with neighbours [H, W, count * C].
      crop: Box of the slice that the image shows; empty for the whole slice.
      brain_mm2: Area of brain in the whole slice, mm2.
    """

    source: int
    header: Header
    image: np.ndarray
    crop: Box = ()
    brain_mm2: float = 0.0


def seen_image(hu: np.ndarray, box: Box, size: int, windows: Sequence[str]) -> np.ndarray:
    """Crops, resizes and windows a slice, as conversion does.

    Args:
      hu: Hounsfield units, float32 [H, W].
      box: Box to cut out; empty for the whole slice.
      size: Rows and columns of the result, px.
      windows: Names of C window presets; empty for the stored form.

    Returns:
      uint8 [size, size, C], without windows the stored form, uint16 [size, size, 1].
    """
    stored = store_hu(cut(hu, box), size)
    return apply_windows(stored, preset_windows(windows)) if windows else stored[..., None]


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What a file gave.

    Attributes:
      slices: The slices that could be read, without neighbours.
      errors: Frame -> why it could not be read; only 0 if nothing of the file could be.
    """

    slices: list[ModelSlice] = field(default_factory=list)
    errors: dict[int, DicomError] = field(default_factory=dict)


def died(task: ImageTask) -> ReadFile:
    """What stands for the slices of a file that ended its worker twice."""
    return ReadFile(errors={0: DicomError(Reason.DECODER_DIED, READER_DIED)})


def read_images(task: ImageTask) -> ReadFile:
    """Reads the slices of one file. Runs in a worker."""
    read = ReadFile()
    with SourceReader() as reader:
        try:
            frames = task.crops or reader.file(task.source).numbers
        except DicomError as error:
            return ReadFile(errors={0: error})
        ended: DicomError | None = None
        for frame in frames:
            # A frame may take seconds to end its decoder, and the next as many.
            result = ended or _read_slice(task, frame, reader)
            if isinstance(result, ModelSlice):
                read.slices.append(result)
                continue
            read.errors[frame] = result
            if result.reason in (Reason.DECODER_DIED, Reason.DECODER_TIMEOUT):
                ended = result
    if not read.slices and read.errors:
        return ReadFile(errors={0: next(iter(read.errors.values()))})
    return read


def _read_slice(task: ImageTask, frame: int, reader: SourceReader) -> ModelSlice | DicomError:
    try:
        with guarded():
            slice_ = reader.slice(task.source, frame)
            box = task.crops.get(frame, ())
            image = seen_image(slice_.hu, box, task.image_size, task.windows)
            brain = brain_mm2(slice_.hu, slice_.header.spacing_mm)
            return ModelSlice(task.number, slice_.header, image, box, brain)
    except DicomError as error:
        return error
