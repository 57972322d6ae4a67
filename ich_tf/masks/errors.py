"""Reasons why a mask is not used: stable codes that files and users rely on."""

from __future__ import annotations

from ich_tf.dicom.reasons import Code, ReasonError


class MaskReason(Code):
    """Reason why a mask is not used. The values are stable: quarantine files hold them."""

    MASK_UNREADABLE = "MASK_UNREADABLE", "a file that cannot be read"
    MASK_FORMAT = "MASK_FORMAT", "no mask: fractions, four dimensions, boxes, or an empty file"
    MASK_SIZE = "MASK_SIZE", "other rows and columns than the image has"
    MASK_CLASS = "MASK_CLASS", "a value, segment or contour that the class map does not name"
    MASK_GEOMETRY = (
        "MASK_GEOMETRY",
        "a place that is no number, or oblique axes",
    )
    MASK_MISALIGNED = "MASK_MISALIGNED", "planes that are not those of the slices"
    MASK_OTHER_SERIES = "MASK_OTHER_SERIES", "a mask of other images, or of another patient"
    MASK_CONTOUR = "MASK_CONTOUR", "a contour outside the image, or one that is not closed"
    MASK_CONFLICT = "MASK_CONFLICT", "a mask and a label that contradict each other"
    MASK_UNUSED = "MASK_UNUSED", "a mask without a slice"


class MaskError(ReasonError[MaskReason]):
    """A mask cannot be used.

    Attributes:
      reason: Stable code of the reason.

    Examples:
      >>> error = MaskError(MaskReason.MASK_SIZE, "has 64 x 64 pixels; the image has 512 x 512.")
      >>> error.reason.value, error.reason.meaning
      ('MASK_SIZE', 'other rows and columns than the image has')
    """
