"""Masks of a series as DICOM Segmentation: one file a series, a segment a class (PS3.3 A.51).

Each frame has the position of the slice that it was found in, so a tilted or uneven series needs no
grid. Segments may overlap, and `any` holds all subtypes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf import __version__
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.errors import InputError, UsageError
from ich_tf.inference.masks.grids import require_one_grid
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics.extents import slice_extents_mm

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

_NOTE = "Research only, not for clinical use"
_MAKER = "ich_tf"
_SERIES_NUMBER = 9200
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
# SNOMED CT codes of what is segmented; PS3.16 has one for a bleed within the skull alone.
_TYPES = {
    "epidural": ("1386000", "Intracranial hemorrhage"),
    "intraparenchymal": ("274100004", "Cerebral hemorrhage"),
    "intraventricular": ("50960005", "Hemorrhage"),
    "subarachnoid": ("21454007", "Subarachnoid intracranial hemorrhage"),
    "subdural": ("35486000", "Subdural intracranial hemorrhage"),
    "any": ("1386000", "Intracranial hemorrhage"),
}
# Where it lies (CID 7153), if the type does not say it.
_REGIONS = {"intraventricular": ("35764002", "Brain ventricle")}
# What is said of a patient and a study, in the words of the source (PS3.3 C.7.1.1 and C.7.2.1).
_COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "SOPClassUID",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
# Of these a segmentation has the attribute, even if it is empty.
_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


def dicom_seg(
    bits: Sequence[np.ndarray],
    headers: Sequence[Header],
    data_sets: Sequence[Dataset],
    *,
    model: str,
    model_sha256: str,
) -> bytes:
    """Writes the masks of one pass of a series as a DICOM Segmentation file.

    It belongs to the patient, the study and the frame of reference of the images, and names the
    image of each frame, of several copies of an image the first. Frames without a mark are left
    out; of a series without any, all frames of `any` are written. The same masks by the same model
    have the same UIDs.

    Args:
      bits: Mask of each slice, uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
      headers: Header of each slice.
      data_sets: DICOM file of each slice, without pixels; for a frame of a multi-frame file the
        file.
      model: Description of the model.
      model_sha256: SHA-256 of its weights.

    Raises:
      UsageError: If highdicom is not installed.
      InputError: If the slices differ in size, pixel spacing or orientation, or their files cannot
        be referred to.
    """
    segmentation = require_highdicom()
    require_one_grid(headers)
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian

    bits, first_of = _united(bits, headers)
    headers = [headers[i] for i in first_of]
    found = np.bitwise_or.reduce([np.bitwise_or.reduce(mask, axis=None) for mask in bits])
    shown = [k for k in range(len(CLASSES)) if k == ANY or found >> k & 1]
    pixels = np.stack([np.moveaxis(unpack(mask)[shown], 0, -1).view(np.uint8) for mask in bits])
    key = hashlib.sha256(pixels.tobytes())
    for text in (model_sha256, __version__, headers[0].series_id, *map(str, shown)):
        key.update(b"/" + text.encode("utf-8", "surrogatepass"))
    thickness_mm = headers[0].thickness_mm or _distance_mm(headers)
    # RSNA's UIDs are none; what a file is called by is what others look for. And highdicom warns of
    # names of one word by quoting them, which no log should hold.
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sources = [
            _source(header, headers[0], thickness_mm, data_set)
            for header, data_set in zip(headers, [data_sets[i] for i in first_of], strict=True)
        ]
        try:
            written = segmentation.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=[
                    _segment(number, CLASSES[k], model, model_sha256, key.hexdigest())
                    for number, k in enumerate(shown, 1)
                ],
                series_instance_uid=_uid("series", headers[0].series_id, model_sha256),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=_uid(key.hexdigest()),
                instance_number=1,
                manufacturer=_MAKER,
                manufacturer_model_name=model[:64],
                software_versions=__version__,
                device_serial_number=model_sha256[:16],
                content_label="BLEEDS",
                content_description=_NOTE,
                content_creator_name=None,
                series_description=f"{_MAKER} segmentation. {_NOTE}"[:64],
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=bool(pixels.any()),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"series {headers[0].series_id} cannot be referred to by a segmentation: {error} "
                "Write PNG or NIfTI files."
            ) from error
        for item in (*written.DimensionOrganizationSequence, *written.DimensionIndexSequence):
            item.DimensionOrganizationUID = _uid("dimensions", key.hexdigest())
        _name_frames(written)
        buffer = io.BytesIO()
        written.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _united(
    bits: Sequence[np.ndarray], headers: Sequence[Header]
) -> tuple[list[np.ndarray], list[int]]:
    """Masks of the planes of a series, each that of all its copies, and the first slice of each."""
    slices_at: dict[tuple[float, ...], list[int]] = {}
    for i, header in enumerate(headers):
        slices_at.setdefault(header.position_mm, []).append(i)
    united = [np.bitwise_or.reduce([bits[i] for i in copies]) for copies in slices_at.values()]
    return united, [copies[0] for copies in slices_at.values()]


def _distance_mm(headers: Sequence[Header]) -> float:
    """Distance between slices whose files do not say how thick they are, as a frame has to."""
    extent = float(np.median(slice_extents_mm(places_along(headers))))
    return 1.0 if np.isnan(extent) else extent


def require_highdicom() -> Any:
    """Returns highdicom's module of segmentations.

    Raises:
      UsageError: If it is not installed.
    """
    try:
        from highdicom import seg
    except ImportError as error:
        raise UsageError(
            "DICOM objects are written by highdicom, which is not installed: pip install "
            "'ich-tf[masks]'."
        ) from error
    # It logs every module that it copies, and warns of frames that it takes for one image.
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    return seg


def _segment(number: int, name: str, model: str, model_sha256: str, key: str) -> SegmentDescription:
    """Description of a class."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    def code(pair: tuple[str, str]) -> Code:
        return Code(pair[0], "SCT", pair[1])

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=code(_TYPES[name]),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=f"{_MAKER}: {model}"[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=f"{__version__}, weights {model_sha256[:12]}",
            source=_MAKER,
        ),
        tracking_uid=_uid(key, name),
        tracking_id=f"{_MAKER} {name}",
        anatomic_regions=[code(_REGIONS[name])] if name in _REGIONS else None,
    )


def _source(header: Header, first: Header, thickness_mm: float, data_set: Dataset) -> Dataset:
    """An image that a segmentation refers to, with no more than is copied from it.

    A frame of a multi-frame file has the id `<UID>/<frame>` until `_name_frames`: highdicom would
    ask for all frames of the file.
    """
    from pydicom.dataset import Dataset

    image = Dataset()
    for keyword in _EMPTY:
        setattr(image, keyword, "")
    for keyword in _COPIED:
        value = data_set.get(keyword)
        if value is not None:
            setattr(image, keyword, value)
    image.SOPInstanceUID = header.image_id
    if header.frame or not image.get("SOPClassUID"):
        image.SOPClassUID = _CT_STORAGE
    if not image.get("FrameOfReferenceUID"):
        # Slices of one series share their coordinates, whether the file says it or not.
        image.FrameOfReferenceUID = _uid("frame of reference", image.SeriesInstanceUID)
    image.Modality = "CT"
    image.Rows, image.Columns = header.rows, header.columns
    image.ImagePositionPatient = [_decimal(value) for value in header.position_mm]
    image.ImageOrientationPatient = [_decimal(value) for value in first.orientation]
    image.PixelSpacing = [_decimal(value) for value in first.spacing_mm]
    image.SliceThickness = _decimal(thickness_mm)
    return image


def _name_frames(written: Dataset) -> None:
    """Turns ids `<UID>/<frame>` into references to a frame of a multi-frame file."""
    lists = [series.ReferencedInstanceSequence for series in written.ReferencedSeriesSequence]
    lists.append(written.SourceImageSequence)
    for images in lists:
        named: dict[str, Dataset] = {}
        for image in images:
            image.ReferencedSOPInstanceUID, frame = _frame_of(image)
            if frame:
                image.ReferencedSOPClassUID = _ENHANCED_CT_STORAGE
            named.setdefault(image.ReferencedSOPInstanceUID, image)
        images[:] = named.values()
    for group in written.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for image in derivation.SourceImageSequence:
                image.ReferencedSOPInstanceUID, frame = _frame_of(image)
                if frame:
                    image.ReferencedSOPClassUID = _ENHANCED_CT_STORAGE
                    image.ReferencedFrameNumber = frame


def _frame_of(image: Dataset) -> tuple[str, int]:
    """UID of a referenced image, and the number of the frame, 0 for a file of one slice."""
    uid, _, frame = image.ReferencedSOPInstanceUID.partition("/")
    return uid, int(frame or 0)


def _decimal(value: float) -> str:
    """A number in the 16 characters of a decimal string (PS3.5 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _uid(*parts: str) -> str:
    """A UID that follows from texts (PS3.5 B.2)."""
    data = "/".join(parts).encode("utf-8", "surrogatepass")
    return f"2.25.{int.from_bytes(hashlib.sha256(data).digest()[:16], 'big')}"
