"""What reading a damaged file or archive gives, and whether that is right. Runs in a sandbox."""

from __future__ import annotations

import io
import json
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from ich_tf.dicom.header_scan import ScannedHeader, scan_file
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reader import DicomFile, Slice
from ich_tf.dicom.reasons import DicomError, Reason, Rejection
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from ich_tf.runtime.sandbox import Handler
from tools.fuzzing.record_judging import judge_records
from tools.fuzzing.record_seeds import PICTURE, SHARD
from tools.fuzzing.seeds import good_files
from tools.fuzzing.volume_judging import WRONG, judge_volume

_ARCHIVE = b"PK"
_PIXELS = 0x7FE00000


def make_handler() -> Handler:
    """Returns the function that judges one input. Runs in the sandbox."""
    warnings.simplefilter("ignore")
    known = {one.hu.tobytes() for data in good_files().values() for one in DicomFile(data).slices()}
    folder = Path(tempfile.mkdtemp(prefix="ich_tf-fuzz-"))

    def handler(message: bytes) -> Iterator[bytes]:
        start, _, data = message.partition(b"\0")
        name = start.decode()
        try:
            if name.startswith((SHARD, PICTURE)):
                outcomes = judge_records(name, data, folder)
            elif name:
                outcomes = judge_volume(name, data, folder)
            else:
                outcomes = judge(data, folder, known)
        except Exception:  # whatever comes through is what is looked for
            outcomes = [f"{WRONG}: {traceback.format_exc()}"]
        yield json.dumps({"outcomes": outcomes, "peak_mib": peak_mib()}).encode()

    return handler


def judge(data: bytes, folder: Path, known: set[bytes]) -> list[str]:
    """Reads an input as conversion does.

    Args:
      data: A file, or an archive.
      folder: Folder to write it to.
      known: Hounsfield units of all good files, as bytes.

    Returns:
      For each slice or rejection a reason code, `slice`, or a text that begins with `WRONG`.
    """
    is_archive = data.startswith(_ARCHIVE)
    path = folder / ("a.zip" if is_archive else "a.dcm")
    path.write_bytes(data)
    try:
        if not is_archive:
            return _judge_file(data, Source(folder, path.name))
        listing = list_sources(path)
    except InputError:
        return ["refused"]
    outcomes = [rejection.reason for rejection in listing.rejections]
    for source in listing.sources:
        found = _read(source)
        outcomes += [one if isinstance(one, str) else _known(one, known) for one in found]
    return outcomes


def _known(slice_: Slice, known: set[bytes]) -> str:
    # A member's CRC lets nothing pass but what was put in.
    return "slice" if slice_.hu.tobytes() in known else f"{WRONG}: a member that nobody wrote"


def _judge_file(data: bytes, source: Source) -> list[str]:
    outcomes = []
    for one in _read(source):
        if isinstance(one, str):
            outcomes.append(one)
            continue
        expected = _pydicoms_hu(data, one)
        if not np.isfinite(one.hu).all():
            outcomes.append(f"{WRONG}: pixels that are not finite")
        elif expected is not None and not np.array_equal(one.hu, expected):
            outcomes.append(f"{WRONG}: other pixels than pydicom's")
        else:
            outcomes.append("slice" if expected is None else "slice, as pydicom's")
    return outcomes


def _read(source: Source) -> Iterator[Slice | str]:
    """The slices of a file, or reason codes."""
    with SourceReader() as reader:
        for found in scan_file(source):
            if isinstance(found, Rejection):
                yield _checked(found.reason, found.message)
                continue
            assert isinstance(found, ScannedHeader)
            try:
                slice_ = reader.slice(source, found.header.frame)
            except DicomError as error:
                yield _checked(error.reason.value, str(error))
                continue
            if slice_.header != found.header:
                yield f"{WRONG}: another header where the file is read whole"
            yield slice_


def _checked(reason: str, message: str) -> str:
    if reason == Reason.INTERNAL.value:
        return f"{WRONG}: {message}"
    if "Doe^" in message or "Synthetic" in message:
        return f"{WRONG}: a message that quotes the file"
    return reason


def _pydicoms_hu(data: bytes, one: Slice) -> np.ndarray | None:
    """The slice as pydicom reads it; None where pydicom cannot, or where another result is meant.

    That is: a repair, a codec that pydicom has not, or elements after the pixels that belong
    before them, which are left out.
    """
    if one.repairs or one.decoder.startswith("imagecodecs"):
        return None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        before = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        head = {tag for tag in list(dataset.keys()) if tag < _PIXELS}
        if any(tag not in before or dataset.get_item(tag) != before.get_item(tag) for tag in head):
            return None
        frame = max(0, one.header.frame - 1)
        pixels = dataset.pixel_array
        grey = dataset
        if one.header.frame:
            pixels = pixels.reshape(-1, *pixels.shape[-2:])[frame]
            group = dataset.PerFrameFunctionalGroupsSequence[frame]
            grey = group.PixelValueTransformationSequence[0]
        slope, intercept = float(grey.RescaleSlope), float(grey.RescaleIntercept)
        unused = dataset.BitsAllocated - dataset.BitsStored
    except Exception:  # whatever it is, pydicom has nothing to compare with
        return None
    # pydicom leaves bits above BitsStored where they are.
    pixels = np.right_shift(np.left_shift(pixels, unused), unused)
    hu = pixels.astype(np.float32)
    if slope != 1:
        hu *= np.float32(slope)
    return hu + np.float32(intercept)


def peak_mib() -> float:
    """Most memory that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
