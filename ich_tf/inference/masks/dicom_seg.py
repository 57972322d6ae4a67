"""Masks of a series as DICOM Segmentation: one file a series, a segment a class (PS3.3 A.51).

Each frame has the position of the slice that it was found in, so a tilted or uneven series needs no
grid. Segments may overlap, and `any` holds all subtypes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.errors import InputError, UsageError
from ich_tf.inference.masks.grids import require_one_grid
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.reporting.algorithm import LONG_STRING, MAKER, NOTE, Algorithm, printable
from ich_tf.reporting.codes import FINDINGS, SITES
from ich_tf.reporting.findings import SEGMENTATION, SeriesFindings
from ich_tf.reporting.identity import CT_STORAGE, SourceImage, SourceStudy
from ich_tf.reporting.uids import ResultUids

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9200
# Types of what is segmented. An own code of a finding is none of CID 7150 and its like.
_TYPES = {**FINDINGS, "epidural": FINDINGS["any"]}


def dicom_seg(
    bits: Sequence[np.ndarray], headers: Sequence[Header], findings: SeriesFindings
) -> bytes:
    """Writes the masks of one pass of a series as a DICOM Segmentation file.

    It belongs to the patient, the study and the frame of reference of the images, and names the
    image of each frame, of several copies of an image the first. Frames without a mark are left
    out; of a series without any, all frames of `any` are written. The same images and model give
    the same bytes.

    Args:
      bits: Mask of each slice, uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
      headers: Header of each slice.
      findings: Study and images of the series, its model, and the UIDs of results.

    Raises:
      UsageError: If highdicom is not installed.
      InputError: If the slices differ in size, pixel spacing or orientation, or their files cannot
        be referred to.
    """
    segmentation = require_highdicom()
    require_one_grid(headers)
    if len({findings.images[i].frame_of_reference_uid for i in range(len(headers))}) > 1:
        raise InputError(
            "the slices of the series lie in several frames of reference, and one file has one. "
            "Write PNG files (--masks=png)."
        )
    from pydicom.uid import ExplicitVRLittleEndian

    from ich_tf.reporting.document import encode, lenient

    study, algorithm, uids = findings.study, findings.algorithm, findings.uids
    bits, first_of = _united(bits, headers)
    headers = [headers[i] for i in first_of]
    segments = segment_numbers(bits)
    shown = [CLASSES.index(name) for name in segments]
    pixels = np.stack([np.moveaxis(unpack(mask)[shown], 0, -1).view(np.uint8) for mask in bits])
    thickness_mm = headers[0].thickness_mm or _distance_mm(headers)
    # highdicom warns of names of one word by quoting them, which no log should hold.
    with lenient():
        sources = [
            _source(header, headers[0], thickness_mm, findings.images[i], study)
            for header, i in zip(headers, first_of, strict=True)
        ]
        try:
            written = segmentation.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=[
                    _segment(number, name, algorithm, uids) for name, number in segments.items()
                ],
                series_instance_uid=uids.uid(SEGMENTATION),
                series_number=SERIES_NUMBER + findings.number,
                sop_instance_uid=uids.uid(SEGMENTATION, "instance"),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=printable(algorithm.name),
                software_versions=printable(algorithm.version),
                device_serial_number=algorithm.sha256[:16],
                content_label="BLEEDS",
                content_description=NOTE,
                content_creator_name=None,
                series_description=f"{MAKER} segmentation. {NOTE}"[:LONG_STRING],
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=bool(pixels.any()),
            )
        except (AttributeError, TypeError, ValueError) as error:
            # Its type alone: a message may quote an id.
            raise InputError(
                "the series cannot be referred to by a segmentation, which highdicom refuses "
                f"({type(error).__name__}). Write PNG or NIfTI files."
            ) from error
        for item in (*written.DimensionOrganizationSequence, *written.DimensionIndexSequence):
            item.DimensionOrganizationUID = uids.uid("segmentation", "dimensions")
        _name_frames(written, [findings.images[i] for i in first_of])
    return encode(written, study, algorithm)


def segment_numbers(bits: Sequence[np.ndarray]) -> dict[str, int]:
    """Classes that a segmentation of a series has, each with the number of its segment, from 1.

    Args:
      bits: Mask of each slice, uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
    """
    found = np.bitwise_or.reduce([np.bitwise_or.reduce(mask, axis=None) for mask in bits])
    shown = [name for k, name in enumerate(CLASSES) if k == ANY or found >> k & 1]
    return {name: number for number, name in enumerate(shown, 1)}


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


def _segment(number: int, name: str, algorithm: Algorithm, uids: ResultUids) -> SegmentDescription:
    """Description of a class."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=Code(*_TYPES[name]),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=printable(algorithm.name),
            family=codes.DCM.ArtificialIntelligence,
            version=printable(algorithm.version),
            source=MAKER,
            parameters={key: printable(text) for key, text in algorithm.parameters.items()},
        ),
        tracking_uid=uids.uid("segmentation", name),
        tracking_id=f"{MAKER} {name}",
        anatomic_regions=[Code(*SITES[name])] if name in SITES else None,
    )


def _source(
    header: Header, first: Header, thickness_mm: float, image: SourceImage, study: SourceStudy
) -> Dataset:
    """An image that a segmentation refers to, with no more than is copied from it.

    A frame of a multi-frame file has the id `<UID>/<frame>` until `_name_frames`: highdicom would
    ask for all frames of the file.
    """
    source = image.reference(study.study_instance_uid)
    source.SOPInstanceUID = image.key
    if image.frame:
        source.SOPClassUID = CT_STORAGE
    for keyword, value in study.lossy().items():
        setattr(source, keyword, value)
    source.PositionReferenceIndicator = study.position_reference
    source.ImagePositionPatient = [_decimal(value) for value in header.position_mm]
    source.ImageOrientationPatient = [_decimal(value) for value in first.orientation]
    source.PixelSpacing = [_decimal(value) for value in first.spacing_mm]
    source.SliceThickness = _decimal(thickness_mm)
    return source


def _name_frames(written: Dataset, images: Sequence[SourceImage]) -> None:
    """Turns ids `<UID>/<frame>` into references to a frame of a multi-frame file."""
    # Of several classes: enhanced, and what was converted to it.
    classes = {image.sop_instance_uid: image.sop_class_uid for image in images}
    lists = [series.ReferencedInstanceSequence for series in written.ReferencedSeriesSequence]
    lists.append(written.SourceImageSequence)
    for references in lists:
        named: dict[str, Dataset] = {}
        for reference in references:
            uid, _ = _frame_of(reference)
            reference.ReferencedSOPInstanceUID = uid
            reference.ReferencedSOPClassUID = classes[uid]
            named.setdefault(uid, reference)
        references[:] = named.values()
    for group in written.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for reference in derivation.SourceImageSequence:
                uid, frame = _frame_of(reference)
                reference.ReferencedSOPInstanceUID = uid
                reference.ReferencedSOPClassUID = classes[uid]
                if frame:
                    reference.ReferencedFrameNumber = frame


def _frame_of(image: Dataset) -> tuple[str, int]:
    """UID of a referenced image, and the number of the frame, 0 for a file of one slice."""
    uid, _, frame = image.ReferencedSOPInstanceUID.partition("/")
    return uid, int(frame or 0)


def _decimal(value: float) -> str:
    """A number in the 16 characters of a decimal string (PS3.5 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
