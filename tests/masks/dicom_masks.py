"""CT slices, DICOM segmentations and structure sets as other programs write them."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from ich_tf.masks.planes import Plane


def ct_slices(planes: Sequence[Plane]) -> list[Dataset]:
    """CT slices without pixels, as a program that draws masks has read them."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for number, plane in enumerate(planes):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame
        dataset.PatientID, dataset.PatientName = "P1", "Secret^Name"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
        dataset.StudyID = dataset.StudyDate = dataset.StudyTime = ""
        dataset.ReferringPhysicianName = dataset.PositionReferenceIndicator = ""
        dataset.Modality, dataset.InstanceNumber = "CT", number + 1
        dataset.Rows, dataset.Columns = plane.rows, plane.columns
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in plane.position_mm]
        dataset.ImageOrientationPatient = [f"{value:.6f}" for value in plane.orientation]
        dataset.PixelSpacing = [f"{value:.6f}" for value in plane.spacing_mm]
        dataset.SliceThickness = "5"
        dataset.BitsAllocated = dataset.BitsStored = 16
        slices.append(dataset)
    return slices


def write_seg(
    path: Path,
    slices: list[Dataset],
    marked: np.ndarray,
    labels: Sequence[str],
    change: Callable[[Dataset], None] = lambda dataset: None,
    **options: object,
) -> Path:
    """Writes a segmentation by highdicom, without the frames that are empty.

    Args:
      path: The file.
      slices: Its slices.
      marked: bool [n, rows, columns, segments], or float for fractions.
      labels: Label of each segment.
      change: Applied to the data set before it is written.
      options: Further arguments of highdicom's Segmentation.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    descriptions = [
        highdicom.seg.SegmentDescription(
            number + 1,
            label,
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Hemorrhage,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(labels)
    ]
    arguments = {"segmentation_type": "BINARY", "omit_empty_frames": True} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = highdicom.seg.Segmentation(
            slices,
            marked,
            segment_descriptions=descriptions,
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="Tests",
            manufacturer_model_name="Tests",
            software_versions="1",
            device_serial_number="1",
            **arguments,
        )
    change(dataset)
    dataset.save_as(path)
    return path


def write_rtstruct(
    path: Path,
    slices: list[Dataset],
    regions: dict[str, list[tuple[int, np.ndarray]]],
    change: Callable[[Dataset], None] = lambda dataset: None,
) -> Path:
    """Writes a structure set.

    Args:
      path: The file.
      slices: Its slices.
      regions: Contours by name of the region: number of the slice, and points, float [n, 3], mm.
      change: Applied to the data set before it is written.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.StructureSetLabel = "RTSTRUCT", "Bleeds"
    dataset.PatientID = slices[0].PatientID
    dataset.StudyInstanceUID = slices[0].StudyInstanceUID
    dataset.SeriesInstanceUID = generate_uid()
    images = Items([_image(slice_) for slice_ in slices])
    series = _item(SeriesInstanceUID=slices[0].SeriesInstanceUID, ContourImageSequence=images)
    study = _item(
        ReferencedSOPInstanceUID=slices[0].StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    dataset.ReferencedFrameOfReferenceSequence = Items(
        [
            _item(
                FrameOfReferenceUID=slices[0].FrameOfReferenceUID,
                RTReferencedStudySequence=Items([study]),
            )
        ]
    )
    dataset.StructureSetROISequence = Items(
        [_item(ROINumber=k + 1, ROIName=name) for k, name in enumerate(regions)]
    )
    dataset.ROIContourSequence = Items(
        [
            _item(
                ReferencedROINumber=k + 1,
                ContourSequence=Items(
                    [
                        _item(
                            ContourGeometricType="CLOSED_PLANAR",
                            NumberOfContourPoints=len(points),
                            ContourData=[f"{value:.4f}" for value in np.ravel(points)],
                            ContourImageSequence=Items([_image(slices[index])]),
                        )
                        for index, points in contours
                    ]
                ),
            )
            for k, contours in enumerate(regions.values())
        ]
    )
    change(dataset)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _image(slice_: Dataset) -> Dataset:
    return _item(
        ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=slice_.SOPInstanceUID
    )


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
