"""What speaks against believing a model on a series: no head, a part of one, missing slices.

The predictions are given all the same; whoever reads them reads the warnings beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ich_tf.dicom.brain_area import HEAD_MM2
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.header import Header
from ich_tf.dicom.series_description import describe_series

# A step this many times those around it is a gap; scanners change the thickness within a series,
# as from 4 to 7 mm, so that a step is compared with those on both sides.
_GAP = 1.5
_AROUND = 3
# Positions are rounded to 1 um.
_SAME_MM = 0.01


@dataclass(frozen=True)
class SeriesWarning:
    """A warning about a series.

    Attributes:
      code: Stable code for programs: NOT_A_HEAD, CUT_OFF, GAPS, SAME_PLANE, CONTRAST or
        SHARP_KERNEL.
      message: Text for people, without any text of a file.
    """

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """Returns code and message, as files and answers hold them."""
        return asdict(self)


def series_warnings(headers: Sequence[Header], brain_mm2: Sequence[float]) -> list[SeriesWarning]:
    """Checks a series.

    Args:
      headers: Headers of its slices, in order along their normal, towards the head.
      brain_mm2: Area of brain in each slice, as `brain_area.brain_mm2` gives it.

    Returns:
      The warnings, the gravest first; empty if there are none.
    """
    found = [*_anatomy(np.asarray(brain_mm2)), *_distances(np.diff(places_along(headers)))]
    series = describe_series(headers[0].series_id, headers)
    if series.contrast == "yes":
        found.append(
            SeriesWarning("CONTRAST", "A contrast agent was given: vessels are as bright as blood.")
        )
    if series.kernel == "sharp":
        found.append(
            SeriesWarning(
                "SHARP_KERNEL", "The kernel is a sharp one, for bone: noise hides bleeds."
            )
        )
    return found


def _anatomy(brain_mm2: np.ndarray) -> list[SeriesWarning]:
    if brain_mm2.max() < HEAD_MM2:
        return [
            SeriesWarning(
                "NOT_A_HEAD",
                "No slice shows brain within a closed skull, as in scans of other parts of the "
                "body, of phantoms and of heads with most of the skull removed. Probabilities mean "
                "nothing outside a head.",
            )
        ]
    ends = [
        end for end, area in (("lower", brain_mm2[0]), ("upper", brain_mm2[-1])) if area >= HEAD_MM2
    ]
    if not ends:
        return []
    return [
        SeriesWarning(
            "CUT_OFF",
            f"The {' and the '.join(ends)} end of the series "
            f"{'lies' if len(ends) == 1 else 'lie'} within the brain: a part of it was not seen.",
        )
    ]


def _distances(steps_mm: np.ndarray) -> list[SeriesWarning]:
    found = []
    num_same = int(np.count_nonzero(steps_mm < _SAME_MM))
    steps_mm = steps_mm[steps_mm >= _SAME_MM]
    gaps = [step for place, step in enumerate(steps_mm) if _is_gap(steps_mm, place)]
    if gaps:
        found.append(
            SeriesWarning(
                "GAPS",
                f"Slices are missing at {len(gaps)} place{'s' if len(gaps) > 1 else ''}; the "
                f"largest gap is {max(gaps):.1f} mm.",
            )
        )
    if num_same:
        found.append(
            SeriesWarning("SAME_PLANE", f"{num_same} slices lie in the plane of another one.")
        )
    return found


def _is_gap(steps_mm: np.ndarray, place: int) -> bool:
    before, after = steps_mm[max(0, place - _AROUND) : place], steps_mm[place + 1 :][:_AROUND]
    usual = [float(np.median(side)) for side in (before, after) if len(side)]
    return bool(usual) and bool(steps_mm[place] > _GAP * max(usual))
