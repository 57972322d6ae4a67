"""Small DICOM files, one tag off at a time, for tests of reading."""

import contextlib
import io
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_headers
from ich_tf.dicom.reasons import DicomError

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}


def make_dicom(
    stored: np.ndarray | None = None,
    *,
    bits: int = 16,
    slope: str = "1",
    intercept: str = "-1024",
    syntax: str = "explicit",
    tags: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
) -> bytes:
    """The bytes of a DICOM file.

    Args:
      stored: Pixels as stored, int16 (signed) or uint16.
      bits: BitsStored.
      slope, intercept: As written into the file, which may be nonsense.
      syntax: A key of SYNTAXES.
      tags: Keyword -> value, set last.
      without: Keywords to leave out.
    """
    if stored is None:
        stored = np.arange(64 * 48, dtype=np.int16).reshape(64, 48)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "CT"
    dataset.PatientID = "P1"
    dataset.PatientName = "Secret^Name"
    dataset.StudyInstanceUID = "1.2.4"
    dataset.SeriesInstanceUID = "1.2.5"
    dataset.ImagePositionPatient = ["-120", "-110.5", "7.25"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = ["0.5", "0.5"]
    dataset.BitsAllocated = 16
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.WindowCenter = ["00036", "00036"]
    order = ">" if syntax == "big" else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in (tags or {}).items():
        setattr(dataset, keyword, value)
    for keyword in without:
        if keyword in dataset:
            delattr(dataset, keyword)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    data = file.getvalue()
    if syntax == "explicit":
        # Written by hand: pydicom would refuse the nonsense that real files hold.
        data = insert_decimal(data, 0x1052, intercept, "RescaleIntercept" in without)
        data = insert_decimal(data, 0x1053, slope, "RescaleSlope" in without)
    else:
        dataset.RescaleIntercept, dataset.RescaleSlope = intercept, slope
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        data = file.getvalue()
    return data


def insert_decimal(data: bytes, element: int, text: str, skip: bool) -> bytes:
    """Adds (0028,element) as an explicit little endian DS, before the pixel data."""
    if skip:
        return data
    value = text.encode()
    value += b" " * (len(value) % 2)
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    tag = struct.pack("<HH2sH", 0x0028, element, b"DS", len(value)) + value
    return data[:at] + tag + data[at:]


def changed(data: bytes, change: Callable[[Dataset], Any]) -> bytes:
    """The same file after a function has changed its data set."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


def rewrite(data: bytes, **tags: Any) -> bytes:
    """The same file with other values of some tags."""

    def change(dataset: Dataset) -> None:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
            if dataset[keyword].VR == "US or SS":
                dataset[keyword].VR = "SS" if dataset.PixelRepresentation else "US"

    return changed(data, change)


def encapsulated(data: bytes, stream: bytes, syntax: str) -> bytes:
    """The same file with a codestream as its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


def make_enhanced(stored: np.ndarray, *, slope: str = "1", intercept: str = "-1024") -> bytes:
    """An enhanced multi-frame CT file: spacing and orientation shared, the rest frame by frame.

    Args:
      stored: int16 [frames, H, W]; the frames lie 5 mm apart along z, the first at z = 0.
      slope, intercept: As written into the file.
    """
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(stored[0])))
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
        "RescaleIntercept",
    ):  # fmt: skip
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(stored)

    def group(**macros: dict[str, Any]) -> Dataset:
        outer = Dataset()
        for keyword, values in macros.items():
            inner = Dataset()
            for name, value in values.items():
                setattr(inner, name, value)
            setattr(outer, keyword, [inner])
        return outer

    dataset.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence={"PixelSpacing": ["0.5", "0.5"]},
            PlaneOrientationSequence={"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]},
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence={"ImagePositionPatient": ["0", "0", str(5 * frame)]},
            PixelValueTransformationSequence={
                "RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "HU",
            },
        )
        for frame in range(len(stored))
    ]  # fmt: skip
    dataset.PixelData = stored.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


def headers_of(paths: Iterable[Path]) -> Iterator[Header]:
    """Headers of the files that are axial CT slices."""
    for path in sorted(paths):
        if path.is_file():
            with contextlib.suppress(DicomError):
                yield from read_headers(io.BytesIO(path.read_bytes()))
