"""What is known of the bleeds of a study, beyond its masks."""

from __future__ import annotations

import dataclasses

TRUTH_COLUMNS = (
    "PatientID", "StudyInstanceUID", "subtype", "volume_ml", "mean_hu", "age_days",
    "midline_shift_mm",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BleedTruth:
    """What is known of one bleed.

    Attributes:
      subtype: One of `labels.SUBTYPES`.
      ml: Volume, from a coarse grid.
      mean_hu: Mean density of its blood.
      days: Age of its blood.
    """

    subtype: str
    ml: float
    mean_hu: float
    days: float


@dataclasses.dataclass(frozen=True)
class BleedsTruth:
    """What is known of a head's bleeds.

    Attributes:
      bleeds: Each bleed, in the order in which they took their room: the leading one is first, but
        for a haematoma that bled into ventricles.
      shift_mm: Shift of the midline between the foramina of Monro, positive to the left.
    """

    bleeds: tuple[BleedTruth, ...] = ()
    shift_mm: float = 0.0

    def rows(self, patient_id: str, study_uid: str) -> list[tuple[object, ...]]:
        """A row of `TRUTH_COLUMNS` for each bleed.

        Args:
          patient_id: PatientID of the study.
          study_uid: StudyInstanceUID.
        """
        return [
            (
                patient_id,
                study_uid,
                bleed.subtype,
                f"{bleed.ml:.3f}",
                f"{bleed.mean_hu:.1f}",
                f"{bleed.days:.3f}",
                f"{self.shift_mm:.2f}",
            )
            for bleed in self.bleeds
        ]
