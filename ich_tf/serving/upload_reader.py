"""An uploaded file -> its slices: what the sandboxed processes of `decoding` run, each alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2

from ich_tf.dicom.brain_area import brain_mm2
from ich_tf.dicom.crop import head_box
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.header import Header
from ich_tf.dicom.nifti_content import read_start
from ich_tf.dicom.nifti_file import NiftiFile
from ich_tf.dicom.nifti_header import HEADER_BYTES, is_nifti_header
from ich_tf.dicom.reader import Slice, read_slices
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.runtime.sandbox import Handler
from ich_tf.runtime.writing import is_full
from ich_tf.serving.errors import DISK_FULL


def make_handler() -> Handler:
    """Returns the function that reads a file. Runs in the sandbox."""
    cv2.setNumThreads(1)

    def handler(message: bytes) -> Iterator[bytes]:
        for answer in _answers(**json.loads(message)):
            yield json.dumps(answer).encode()

    return handler


def _slices(path: Path, number: str) -> Iterator[Slice]:
    """The slices of a file. A NIfTI file is known by its content: no client's name comes here.

    Args:
      path: The file.
      number: Number of the file in the upload, which stands for the ids of a volume.
    """
    with open(path, "rb") as file:
        if _is_nifti(file):
            volume = NiftiFile(file, f"volume-{number}")
            volume.load()
            return map(volume.slice, volume.numbers)
    return read_slices(path.read_bytes())


def _is_nifti(file: BinaryIO) -> bool:
    try:
        return is_nifti_header(read_start(file, HEADER_BYTES))
    except DicomError:  # packed and damaged at its start, so that nobody knows what it was
        return False


def _lost(errors: Sequence[tuple[int, DicomError]], num_read: int) -> dict[str, Any]:
    """Reason and message of the frames that could not be read, for the end of the answers.

    Raises:
      DicomError: If no frame could be.
    """
    if not errors:
        return {}
    frame, error = errors[0]
    if not num_read:
        raise error
    message = f"{len(errors)} of {len(errors) + num_read} frames, the first {frame}: {error}"
    return {"lost": {"reason": error.reason.value, "message": message}}


def _answers(file: str, out: str, find_head: bool) -> Iterator[dict[str, Any]]:
    """An answer for each slice of a file, then the end, with what frames are lost, or a reason."""
    errors: list[tuple[int, DicomError]] = []
    number = 0
    try:
        with guarded():
            slices = _slices(Path(file), Path(out).name)
        for frame in itertools.count(1):
            try:
                with guarded():
                    slice_ = next(slices, None)
                    if slice_ is None:
                        break
                    spacing_mm = slice_.header.spacing_mm
                    box = head_box(slice_.hu, spacing_mm) if find_head else ()
                    brain = brain_mm2(slice_.hu, spacing_mm)
            except DicomError as error:
                errors.append((frame, error))
                continue
            # `ndarray.tofile` does not say that a disk is full.
            Path(f"{out}-{number}").write_bytes(slice_.hu.astype("<f4", copy=False).tobytes())
            header = {name: getattr(slice_.header, name) for name in Header.__dataclass_fields__}
            yield {"header": header, "box": box, "brain_mm2": brain}
            number += 1
        yield {"end": True, **_lost(errors, number)}
    except DicomError as error:
        yield {"reason": error.reason.value, "message": str(error)}
    except OSError as error:
        yield {
            "reason": DISK_FULL if is_full(error) else Reason.UNREADABLE.value,
            "message": f"cannot be kept ({error.strerror or type(error).__name__}).",
        }
