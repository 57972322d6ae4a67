"""Ids of results whose study is not known: they follow from a key and from the pixels.

A page keeps no id of the files that it is sent. Its results say so little that nobody can file
them, but whoever has the images can: each image that a result refers to has a UID that follows from
its pixels, its place in the patient and the result's study UID. `attach` computes the same.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ich_tf.dicom.elements import tag_of
from ich_tf.reporting.identity import CT_STORAGE, SourceImage, SourceStudy
from ich_tf.reporting.uids import derived_uid

# Patient ids of pseudonymous results start so.
PATIENT_PREFIX = "ICH-TF-"


class Placed(Protocol):
    """Something with the geometry of a slice, as `dicom.Header` has it."""

    @property
    def position_mm(self) -> tuple[float, ...]:
        """Centre of the first pixel."""

    @property
    def orientation(self) -> tuple[float, ...]:
        """Unit vectors along a row and along a column."""

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance between rows, and between columns."""


@dataclass(frozen=True)
class Pseudonyms:
    """Ids of one study that are derived from its key.

    Attributes:
      key: Key of the study.
    """

    key: str

    def uid(self, *parts: object) -> str:
        """Makes the UID of the study, or of a part of it."""
        return derived_uid(self.key, *parts)

    def study(self) -> SourceStudy:
        """Makes the study that results are filed in."""
        patient_id = PATIENT_PREFIX + hashlib.sha256(self.key.encode()).hexdigest()[:12]
        elements = {"PatientID": patient_id, "StudyInstanceUID": self.uid()}
        return SourceStudy(
            study_instance_uid=self.uid(),
            elements={tag_of(keyword): text.encode() for keyword, text in elements.items()},
        )

    def image(self, series: int, hu: np.ndarray, placed: Placed) -> SourceImage:
        """Makes the ids of an image that results refer to.

        Args:
          series: Index of the series in the study, from 0.
          hu: Hounsfield units, float32 [rows, columns].
          placed: Geometry of the slice.
        """
        return SourceImage(
            sop_class_uid=CT_STORAGE,
            sop_instance_uid=image_uid(self.uid(), hu, placed),
            series_instance_uid=self.uid("series", series),
            frame_of_reference_uid=self.uid("frame of reference", series),
            frame=0,
            rows=hu.shape[0],
            columns=hu.shape[1],
            position_mm=placed.position_mm,
            orientation=placed.orientation,
            spacing_mm=placed.spacing_mm,
        )


def image_uid(study_uid: str, hu: np.ndarray, placed: Placed) -> str:
    """Makes the UID of an image in a pseudonymous study.

    It differs between studies: two results tell nobody without the images that these are the same.

    Args:
      study_uid: UID of the pseudonymous study.
      hu: Hounsfield units, float32 [rows, columns].
      placed: Geometry of the slice.
    """
    digest = hashlib.sha256(study_uid.encode())
    numbers = (*placed.position_mm, *placed.orientation, *placed.spacing_mm)
    digest.update(struct.pack(f"<2I{len(numbers)}d", *hu.shape, *numbers))
    # Whole units, as the server hands pixels out.
    digest.update(np.rint(np.clip(hu, -32768, 32767)).astype("<i2").tobytes())
    return derived_uid("image", digest.hexdigest())
