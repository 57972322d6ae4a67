"""Good files, one of each kind that conversion reads, small enough to damage thousands of."""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED = (
    f"1.2.840.10008.1.2{suffix}" for suffix in (".1", "", ".2", ".1.99")
)
_JPEG = "1.2.840.10008.1.2.4."
_RLE = "1.2.840.10008.1.2.5"


@functools.cache
def good_files() -> dict[str, bytes]:
    """A file of each kind, by its name: byte orders, representations, signs, codecs, frames."""
    rng = np.random.default_rng(0)
    signed = rng.integers(-1024, 1500, (32, 24)).astype(np.int16)
    unsigned = rng.integers(0, 2500, (32, 24)).astype(np.uint16)
    stack = rng.integers(-1024, 1500, (3, 16, 12)).astype(np.int16)
    bits, small = signed.view(np.uint16), (unsigned // 10).astype(np.uint8)
    jpeg2000 = imagecodecs.jpeg2k_encode(signed, level=0, reversible=True, codecformat="j2k")
    files = {
        "explicit": _encoded(_slice(signed)),
        "12 bits": _encoded(_slice(unsigned, bits=12)),
        "8 bits": _encoded(_slice(small, bits=8)),
        "implicit": _encoded(_slice(signed), _IMPLICIT),
        "big endian": _encoded(_slice(unsigned, bits=12), _BIG),
        "deflated": _deflated(_encoded(_slice(signed))),
        "padded": _encoded(_padded(_slice(unsigned))),
        "wrapped": _encoded(_slice(unsigned, bits=12, intercept="0")),
        "enhanced": _encoded(_enhanced(stack)),
        "enhanced, implicit": _encoded(_enhanced(stack), _IMPLICIT),
        "enhanced, big endian": _encoded(_enhanced(stack), _BIG),
        "enhanced, deflated": _deflated(_encoded(_enhanced(stack))),
        "enhanced, open sequences": _encoded(_opened(_enhanced(stack))),
        "RLE": _encapsulated(_slice(signed), [_rle(signed)], _RLE),
        "enhanced RLE": _encapsulated(_enhanced(stack), [_rle(frame) for frame in stack], _RLE),
        "JPEG, 12 bits": _encapsulated(
            _slice(unsigned, bits=12),
            [imagecodecs.jpeg8_encode(unsigned, level=98, bitspersample=12)],
            f"{_JPEG}51",
        ),
        "JPEG lossless": _encapsulated(
            _slice(signed), [imagecodecs.ljpeg_encode(bits, bitspersample=16)], f"{_JPEG}70"
        ),
        "JPEG-LS": _encapsulated(_slice(signed), [imagecodecs.jpegls_encode(bits)], f"{_JPEG}80"),
        "enhanced JPEG-LS": _encapsulated(
            _enhanced(stack),
            [imagecodecs.jpegls_encode(frame) for frame in stack.view(np.uint16)],
            f"{_JPEG}80",
        ),
        "JPEG 2000": _encapsulated(_slice(signed), [jpeg2000], f"{_JPEG}90"),
        "JPEG 2000, fragments": _encapsulated(_slice(signed), [jpeg2000], f"{_JPEG}90", 4),
        "8 bits, RLE": _encapsulated(_slice(small, bits=8), [_rle(small)], _RLE),
    }
    files["no preamble"] = files["explicit"][132:]
    files["no meta information"] = _bare(_slice(signed))
    return files


@functools.cache
def good_archives() -> dict[str, bytes]:
    """Archives of good files, by their names: stored, deflated, with data after the members."""
    archives = {}
    members = [(name, data) for name, data in good_files().items() if len(data) < 4000]
    for method, title in ((zipfile.ZIP_STORED, "stored"), (zipfile.ZIP_DEFLATED, "deflated")):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in members[:8]:
                archive.writestr(f"folder/{name}.dcm", data)
        archives[f"zip, {title}"] = file.getvalue()
    return archives


def _slice(stored: np.ndarray, *, bits: int = 16, intercept: str = "-1024") -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality, dataset.Manufacturer = "CT", "SYNTHETIC"
    dataset.PatientID, dataset.PatientName = "P1", "Synthetic"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient = ["-120", "-110.5", "7.25"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.PixelSpacing, dataset.SliceThickness = ["0.5", "0.5"], "5"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = intercept, "1", "HU"
    _set_pixels(dataset, stored)
    return dataset


def _set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"


def _padded(dataset: Dataset) -> Dataset:
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns).copy()
    stored[:5] = stored[-5:] = 4000
    dataset.add_new("PixelPaddingValue", "US", 4000)
    _set_pixels(dataset, stored)
    return dataset


def _enhanced(stack: np.ndarray) -> Dataset:
    dataset = _slice(stack[0])
    dataset.NumberOfFrames = len(stack)
    moved = ("PixelSpacing", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept")
    inner, shared = Dataset(), Dataset()
    inner["PixelSpacing"] = dataset["PixelSpacing"]
    shared.PixelMeasuresSequence = [inner]
    inner = Dataset()
    inner["ImageOrientationPatient"] = dataset["ImageOrientationPatient"]
    shared.PlaneOrientationSequence = [inner]
    frames = []
    for number in range(len(stack)):
        place, grey, frame = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = ["-120", "-110.5", str(5 * number)]
        grey.RescaleIntercept, grey.RescaleSlope, grey.RescaleType = "-1024", "1", "HU"
        frame.PlanePositionSequence = [place]
        frame.PixelValueTransformationSequence = [grey]
        frames.append(frame)
    for keyword in (*moved, "ImagePositionPatient", "RescaleType", "SliceThickness"):
        delattr(dataset, keyword)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    _set_pixels(dataset, stack)
    return dataset


def _opened(dataset: Dataset) -> Dataset:
    """The same data set with sequences and items of undefined length."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _opened(item)
    return dataset


def _rle(stored: np.ndarray) -> bytes:
    dataset = _slice(stored, bits=8 * stored.dtype.itemsize)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT)
    return get_encoder(UID(_RLE)).encode(dataset, encoding_plugin="pydicom")


def _encapsulated(
    dataset: Dataset, streams: Sequence[bytes | bytearray], syntax: str, fragments: int = 1
) -> bytes:
    dataset.PixelData = encapsulate([bytes(stream) for stream in streams], fragments)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return _encoded(dataset, syntax)


def _encoded(dataset: Dataset, syntax: str = _EXPLICIT) -> bytes:
    if syntax == _BIG:
        words = np.frombuffer(dataset.PixelData, "<u2")
        dataset.PixelData = words.byteswap().tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return _written(dataset, enforce_file_format=True)


def _bare(dataset: Dataset) -> bytes:
    return _written(dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)


def _deflated(data: bytes) -> bytes:
    """The same file deflated behind its meta information."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = UID(_DEFLATED)
    start = 144 + int.from_bytes(data[140:144], "little")
    written = _written(dataset, enforce_file_format=True)
    end = 144 + int.from_bytes(written[140:144], "little")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return written[:end] + compressor.compress(data[start:]) + compressor.flush()


def _written(dataset: Dataset, **options: Any) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, **options)
    return file.getvalue()
