"""Good NIfTI volumes and masks of each format, small enough to damage thousands of."""

from __future__ import annotations

import functools
import gzip
import io
from typing import Any

import cv2
import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from ich_tf.masks.planes import Plane

_EXPLICIT, _DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_SEG, _RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
_SIZE, _COUNT = 16, 4
# Slices that all of the masks lie on.
PLANES = tuple(
    Plane((-60.0, -60.0, 5.0 * k), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (8.0, 8.0), _SIZE, _SIZE)
    for k in range(_COUNT)
)
# Voxel numbers of [columns, rows, slices] to RAS, mm.
_AFFINE = np.array([[-8.0, 0, 0, 60], [0, -8, 0, 60], [0, 0, 5, 0], [0, 0, 0, 1]])


@functools.cache
def good_volumes() -> dict[str, tuple[str, bytes]]:
    """A file of each kind, by its name: the name that tells its format, and its bytes."""
    rng = np.random.default_rng(0)
    values = rng.integers(-1024, 100, (_SIZE, _SIZE, _COUNT))
    marked = np.zeros(values.shape, np.uint8)
    marked[4:9, 5:12, 1:3] = 1
    png = cv2.imencode(".png", (marked[..., 1].T * 48).astype(np.uint8))[1].tobytes()
    seg = _segmentation(marked)
    return {
        "volume": ("image.nii", _nifti(values.astype(np.int16))),
        "volume of floats, packed": ("image.nii.gz", _packed(_nifti(values.astype("<f4")))),
        "volume in big endian": ("image.nii", _nifti(values.astype(">i2"))),
        "mask": ("mask.nii", _nifti(marked)),
        "mask of floats": ("mask.nii", _nifti(marked.astype(np.float64))),
        "mask, packed": ("mask.nii.gz", _packed(_nifti(marked))),
        "mask as PNG": ("mask.png", png),
        "segmentation": ("mask.dcm", _written(seg)),
        "segmentation, deflated": ("mask.dcm", _written(seg, _DEFLATED)),
        "structure set": ("mask.dcm", _written(_structure_set())),
    }


def _nifti(values: np.ndarray) -> bytes:
    library: Any = nibabel  # which has no types
    header = library.Nifti1Header(endianness=">" if values.dtype.byteorder == ">" else "<")
    header.set_data_dtype(values.dtype)
    data: bytes = library.Nifti1Image(values, _AFFINE, header).to_bytes()
    return data


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _segmentation(marked: np.ndarray) -> Dataset:
    """The mask as a segmentation of two frames."""
    dataset = _described(_SEG, "SEG")
    dataset.SegmentationType, dataset.NumberOfFrames = "BINARY", 2
    dataset.Rows = dataset.Columns = _SIZE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.SegmentSequence = [_item(SegmentNumber=1, SegmentLabel="subdural")]
    orientation = _item(ImageOrientationPatient=list(PLANES[0].orientation))
    measures = _item(PixelSpacing=list(PLANES[0].spacing_mm))
    dataset.SharedFunctionalGroupsSequence = [
        _item(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures])
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=list(PLANES[k].position_mm))],
            SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=1)],
        )
        for k in (1, 2)
    ]
    bits = np.packbits(marked[..., 1:3].transpose(2, 1, 0).ravel(), bitorder="little")
    dataset.PixelData = bits.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def _structure_set() -> Dataset:
    """Two contours of a region."""
    dataset = _described(_RTSTRUCT, "RTSTRUCT")
    dataset.StructureSetROISequence = [_item(ROINumber=1, ROIName="Subdural")]
    contours = []
    for k in (1, 2):
        points = PLANES[k].points_mm(np.array([3.5, 3.5, 9.5, 9.5]), np.array([4.5, 11, 11, 4.5]))
        data = [f"{value:g}" for value in points.ravel()]
        contours.append(_item(ContourGeometricType="CLOSED_PLANAR", ContourData=data))
    dataset.ROIContourSequence = [_item(ReferencedROINumber=1, ContourSequence=contours)]
    return dataset


def _described(storage: str, modality: str) -> Dataset:
    dataset = _item(
        SOPClassUID=storage,
        SOPInstanceUID="1.2.6",
        Modality=modality,
        PatientID="P1",
        PatientName="Synthetic",
        StudyInstanceUID="1.2.4",
        SeriesInstanceUID="1.2.7",
    )
    instance = _item(ReferencedSOPInstanceUID="1.2.3")
    dataset.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID="1.2.5", ReferencedInstanceSequence=[instance])
    ]
    return dataset


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _written(dataset: Dataset, syntax: str = _EXPLICIT) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
