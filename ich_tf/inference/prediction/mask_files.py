"""Masks of a prediction as files: PNG a slice, NIfTI a class and series, DICOM SEG a series."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ich_tf.dicom.reasons import DicomError
from ich_tf.errors import InputError
from ich_tf.inference.masks.dicom_seg import dicom_seg, require_highdicom
from ich_tf.inference.masks.image_masks import decode_bits
from ich_tf.inference.masks.nifti import nifti_masks, require_nibabel
from ich_tf.inference.prediction.heat_map_pictures import picture_names
from ich_tf.inference.prediction.reader import Reader
from ich_tf.inference.prediction.series_findings import series_findings
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.names import file_name

_LOG = logging.getLogger(__name__)
# Name of a file and its bytes.
_Files = Iterator[tuple[str, bytes]]


def masks_dir(submission_path: Path) -> Path:
    """Returns the folder of the masks of a submission."""
    return submission_path.with_name(f"{submission_path.stem}_masks")


def require_writer(masks: str) -> None:
    """Checks that the library of a format is there, before hours of work.

    Args:
      masks: Format of the masks, as in `PredictConfig.masks`.

    Raises:
      UsageError: If it is not installed.
    """
    if masks == "nifti":
        require_nibabel()
    elif masks == "dicom_seg":
        require_highdicom()


def write_masks(masks: str, submission_path: Path, reader: Reader) -> int:
    """Writes the masks of all predicted slices.

    A series that the format cannot hold is named in the log, and left out.

    Args:
      masks: Format of the masks: `png`, `nifti` or `dicom_seg`.
      submission_path: Path of the submission, which names their folder.
      reader: Reader whose store holds the masks.

    Returns:
      Number of files.
    """
    folder = masks_dir(submission_path)
    folder.mkdir(exist_ok=True)
    number = 0
    for members, name in _named_series(reader):
        for file, data in _files_of(masks, members, name, reader):
            write_bytes(folder / file, [data])
            number += 1
    return number


def _files_of(masks: str, members: Sequence[StoredPrediction], name: str, reader: Reader) -> _Files:
    """The files of a series."""
    try:
        yield from _WRITERS[masks](members, name, reader)
    except (DicomError, InputError) as error:
        _LOG.warning("no masks of series %s: %s", members[0].header.series_id, error)


def _named_series(reader: Reader) -> Iterator[tuple[list[StoredPrediction], str]]:
    """The slices of each series, and its id as a file may be named; each is unique."""
    ids = {
        (number, 0): members[0].header.series_id
        for number, members in enumerate(reader.store.by_series("probabilities"))
    }
    names = picture_names(ids)
    for number, members in enumerate(reader.store.by_series("probabilities")):
        yield members, names[number, 0]


def _png(members: Sequence[StoredPrediction], name: str, reader: Reader) -> _Files:
    # A slice is named by its image id, as its rows of the submission are.
    for slice_ in members:
        yield f"{file_name(slice_.image_id)}.png", slice_.mask


def _nifti(members: Sequence[StoredPrediction], name: str, reader: Reader) -> _Files:
    headers = [slice_.header for slice_ in members]
    for class_, data in nifti_masks(_bits(members), headers).items():
        yield f"{name}_{class_}.nii.gz", data


def _dicom_seg(members: Sequence[StoredPrediction], name: str, reader: Reader) -> _Files:
    headers = [slice_.header for slice_ in members]
    yield f"{name}.dcm", dicom_seg(_bits(members), headers, series_findings(reader, members))


_WRITERS: dict[str, Callable[[Sequence[StoredPrediction], str, Reader], _Files]] = {
    "png": _png,
    "nifti": _nifti,
    "dicom_seg": _dicom_seg,
}


def _bits(members: Sequence[StoredPrediction]) -> list[np.ndarray]:
    return [decode_bits(slice_.mask) for slice_ in members]
