"""What a scanner writes into a header and RSNA's files lack: valid UIDs, a patient, a protocol."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from ich_tf.phantom.geometry import Acquisition, Geometry
from ich_tf.phantom.study import PhantomStudy

# pydicom's prefix, whose suffixes are free to choose.
UID_PREFIX = "1.2.826.0.1.3680043.8.498."
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_FIRST_DAY = datetime.date(2019, 1, 1)


def archive_study_uid(study_id: str) -> str:
    """StudyInstanceUID of a study.

    Args:
      study_id: Id in RSNA's form: `ID_` and ten digits.
    """
    return f"{UID_PREFIX}2.{int(study_id[3:], 16)}"


def archive_elements(
    study: PhantomStudy, index: int, ids: tuple[str, str, str, str]
) -> list[tuple[str, str, Any]]:
    """Elements of a slice beyond those of RSNA's files, or in place of them (PS3.3 A.3).

    Args:
      study: The study.
      index: Number of the slice, from 0.
      ids: Ids of patient, study, series and image, from which all of them are derived.

    Returns:
      Keyword, value representation and value of each.
    """
    patient, study_id, series, image = (int(text[3:], 16) for text in ids)
    acquisition = study.geometry.acquisition or _guess(study.geometry)
    thickness = float(acquisition.thickness_mm[index])
    day = (_FIRST_DAY + datetime.timedelta(days=study_id % 365)).strftime("%Y%m%d")
    second = study_id % 86400
    time = f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
    return [
        ("ImageType", "CS", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        ("SOPClassUID", "UI", _CT_IMAGE_STORAGE),
        ("SOPInstanceUID", "UI", f"{UID_PREFIX}4.{image}"),
        ("StudyDate", "DA", day),
        ("ContentDate", "DA", day),
        ("StudyTime", "TM", time),
        ("ContentTime", "TM", time),
        ("AccessionNumber", "SH", f"A{study_id % 10**8:08}"),
        ("Manufacturer", "LO", "Phantom"),
        ("ReferringPhysicianName", "PN", ""),
        ("StudyDescription", "LO", "CT HEAD WITHOUT CONTRAST"),
        ("SeriesDescription", "LO", f"HEAD {acquisition.thickness_mm[-1]:.1f} mm"),
        ("ManufacturerModelName", "LO", "ich_tf phantom"),
        ("PatientName", "PN", f"PHANTOM^{patient:08X}"),
        ("PatientBirthDate", "DA", f"{1930 + patient % 70}0101"),
        ("PatientSex", "CS", "MFO"[patient % 3]),
        ("SliceThickness", "DS", f"{thickness:.3f}"),
        ("KVP", "DS", str(acquisition.kvp)),
        ("ConvolutionKernel", "SH", acquisition.kernel),
        ("PatientPosition", "CS", "HFS"),
        ("StudyInstanceUID", "UI", archive_study_uid(ids[1])),
        ("SeriesInstanceUID", "UI", f"{UID_PREFIX}3.{series}"),
        ("StudyID", "SH", "1"),
        ("SeriesNumber", "IS", "2"),
        ("AcquisitionNumber", "IS", "1"),
        ("InstanceNumber", "IS", str(index + 1)),
        ("Laterality", "CS", ""),
        ("FrameOfReferenceUID", "UI", f"{UID_PREFIX}5.{study_id}"),
        ("PositionReferenceIndicator", "LO", ""),
    ]


def _guess(geometry: Geometry) -> Acquisition:
    """The protocol of a series that names none: slices as thick as their median distance."""
    steps = np.linalg.norm(np.diff(geometry.positions_mm, axis=0), axis=1)
    thickness = float(np.median(steps)) if len(steps) else 5.0
    return Acquisition(np.full(len(geometry.positions_mm), thickness), "STANDARD", 120, 200)
