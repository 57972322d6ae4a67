"""What reading a damaged NIfTI volume or mask gives, and whether that is right. In a sandbox."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel
import numpy as np

from ich_tf.dicom.header_scan import ScannedHeader, scan_file
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError
from ich_tf.masks.guard import guarded
from ich_tf.masks.placement import place
from ich_tf.masks.png_masks import ALL_CLASSES, read_png
from ich_tf.masks.read import read_mask
from ich_tf.masks.references import read_references
from tools.fuzzing.volume_seeds import PLANES

# How an outcome that must not be begins.
WRONG = "wrong"


def judge_volume(name: str, data: bytes, folder: Path) -> list[str]:
    """Reads an input as conversion does.

    Args:
      name: Name of the file, by which its format is told: `image.nii`, or `mask` with an ending.
      data: Its bytes.
      folder: Folder to write it to.

    Returns:
      For each slice, mask or rejection a reason code, `slice`, `mask`, or a text that begins with
      `WRONG`.
    """
    path = folder / name
    path.write_bytes(data)
    if name.startswith("image"):
        return _judge_image(Source(folder, name))
    try:
        with guarded():
            if name.endswith(".png"):
                bits, _ = read_png(data, PLANES[0].rows, PLANES[0].columns)
                return [_judge_png(data, bits)]
            if name.endswith(".dcm"):
                read_references(path)
            volume = read_mask(path, "auto", ClassMap(), PLANES)
            if name.startswith("mask.nii") and not _as_nibabels(path, volume.bits):
                return [f"{WRONG}: another number of marked voxels than nibabel's"]
            bits = place(volume, PLANES).bits
    except MaskError as error:
        return [_checked(error, name)]
    return ["mask" if int(bits.max()) <= ALL_CLASSES else f"{WRONG}: bits of no class"]


def _judge_image(source: Source) -> list[str]:
    outcomes = []
    with SourceReader() as reader:
        for found in scan_file(source):
            if not isinstance(found, ScannedHeader):
                outcomes.append(_of_reason(found.reason, found.message))
                continue
            try:
                slice_ = reader.slice(source, found.header.frame)
            except DicomError as error:
                outcomes.append(_of_reason(error.reason.value, str(error)))
                continue
            finite = bool(np.isfinite(slice_.hu).all()) and slice_.header == found.header
            outcomes.append("slice" if finite else f"{WRONG}: pixels or header of a slice")
    return outcomes


def _judge_png(data: bytes, bits: np.ndarray) -> str:
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    same = expected is not None and np.array_equal(expected > 0, bits > 0)
    return "mask" if same else f"{WRONG}: other pixels than OpenCV's"


def _as_nibabels(path: Path, bits: np.ndarray) -> bool:
    """Whether as many voxels are marked as nibabel finds; true where it reads none."""
    try:
        values = np.asanyarray(nibabel.Nifti1Image.from_filename(path).dataobj)
    except Exception:  # whatever it is, nibabel has nothing to compare with
        return True
    return np.count_nonzero(np.rint(values.astype(np.float64))) == np.count_nonzero(bits)


def _checked(error: MaskError, name: str) -> str:
    # Errors of pydicom are its own; those of NIfTI and PNG would be this project's.
    if "--debug" in str(error) and not name.endswith(".dcm"):
        return f"{WRONG}: {error}"
    return _of_reason(error.reason.value, str(error))


def _of_reason(reason: str, message: str) -> str:
    if reason == Reason.INTERNAL.value:
        return f"{WRONG}: {message}"
    if "Synthetic" in message:
        return f"{WRONG}: a message that quotes the file"
    return reason
