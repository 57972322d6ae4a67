"""Postprocessing: from logits to probabilities and decisions, stored as `calibration.json`.

The steps are smoothing along the series, calibration, that of a site if few of its labels were
given, and a shift to another prevalence if one is given. `inference.calibration` fits them on
validation patients, and `inference.few_labels` that of a site; they are stored beside the weights.

Networks of several folds are calibrated each on its own fold, then their probabilities averaged. A
calibrator of their logits does not fit their mean, which is less certain than they are: on
simulated folds its loss was 0.399 instead of 0.343.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.abstention import Abstention
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.postprocessing.prevalence import shift_prevalence, shift_prevalence_graph
from ich_tf.inference.postprocessing.site import SiteCalibrator
from ich_tf.inference.postprocessing.smoothing import smooth_logits, smooth_logits_graph
from ich_tf.inference.postprocessing.volume_error import VolumeError
from ich_tf.labels import CLASSES
from ich_tf.models.run_files import CALIBRATION
from ich_tf.runtime.files import json_text, write_json
from ich_tf.runtime.json_types import read_value

if TYPE_CHECKING:
    import tensorflow as tf

VERSION = 3
_SITES = ("site", "site_series")
_OPTIONAL = (*_SITES, "abstention")
# Rule of an operating point -> `metrics.choose_threshold`'s arguments.
POINTS: dict[str, dict[str, float]] = {
    "youden": {},
    "sensitivity_95": {"sensitivity": 0.95},
    "specificity_95": {"specificity": 0.95},
}
# Operating point by which pages and summaries mark slices and series.
DEFAULT_POINT = "youden"

# Level -> rule -> class -> threshold; None where the validation patients lacked the class.
Thresholds = dict[str, dict[str, dict[str, float | None]]]


@dataclasses.dataclass(frozen=True)
class Group:
    """Members of an ensemble whose mean probability is calibrated: those validated on one fold.

    Attributes:
      calibrator: Calibrator of the smoothed logits of slices.
      series_calibrator: Calibrator of a series model's logits of whole series.
      members: SHA-256 of the members' weights; empty for all members.
      share: Share of the group in the mean of the calibrated probabilities, in (0, 1].
    """

    calibrator: Calibrator = dataclasses.field(default_factory=Calibrator)
    series_calibrator: Calibrator = dataclasses.field(default_factory=Calibrator)
    members: tuple[str, ...] = ()
    share: float = 1.0

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Group:
        """Reads the attributes from JSON values.

        Raises:
          TypeError, KeyError, ValueError: If the content is not a group's.
        """
        return cls(
            calibrator=Calibrator.from_json(content["calibrator"]),
            series_calibrator=Calibrator.from_json(content["series_calibrator"]),
            members=read_value(tuple[str, ...], content["members"], "members"),
            share=read_value(float, content["share"], "share"),
        )


def group_rows(groups: Sequence[Group], hashes: Sequence[str]) -> list[list[int]]:
    """Finds the members of each group.

    Args:
      groups: Groups, one without named members holding all.
      hashes: SHA-256 of the weights of each member.

    Raises:
      InputError: If a member is in no group, or a group has none.
    """
    rows = [
        [i for i, sha256 in enumerate(hashes) if not group.members or sha256 in group.members]
        for group in groups
    ]
    if not all(rows) or len({i for group in rows for i in group}) != len(hashes):
        raise InputError(
            f"{CALIBRATION}: was fitted to other members than the model has. Run python -m "
            "ich_tf.calibrate again."
        )
    return rows


@dataclasses.dataclass(frozen=True)
class Postprocessing:
    """The steps from logits to probabilities, and the thresholds of decisions.

    Attributes:
      model_sha256: SHA-256 of the model that it was fitted for (`Predictor.sha256`); empty for any.
      flip: Whether the logits are the mean of those of a slice and of its mirror image.
      smoothing_mm: Standard deviation of the Gaussian along the series, mm; 0 for no smoothing.
      groups: Members that are calibrated together, and how; the shares have the sum 1.
      prevalence: Share of slices with a bleed that the probabilities hold for, in (0, 1).
      thresholds: Thresholds of the operating points, by level, rule and class.
      mask_thresholds: Least probability of a marked pixel, by class; empty for a model without
        masks, and for 0.5.
      volume_errors: Error of the volumes, by class; None where there were too few series to fit it,
        and empty for a model without masks.
      fitted_on: Data and losses of the fit, for people; empty without a fit.
      site: Calibration of slices at a site (`inference.few_labels`); None for none.
      site_series: The same of a series model's whole series.
      abstention: Thresholds by which exams are decided or left to people; None for none.
    """

    model_sha256: str = ""
    flip: bool = False
    smoothing_mm: float = 0.0
    groups: tuple[Group, ...] = (Group(),)
    prevalence: float = 0.5
    thresholds: Thresholds = dataclasses.field(default_factory=dict)
    mask_thresholds: tuple[float, ...] = ()
    volume_errors: tuple[VolumeError | None, ...] = ()
    fitted_on: dict[str, Any] = dataclasses.field(default_factory=dict)
    site: SiteCalibrator | None = None
    site_series: SiteCalibrator | None = None
    abstention: Abstention | None = None

    def probabilities(
        self,
        logits: np.ndarray,
        z_mm: np.ndarray,
        series: Sequence[str],
        prevalence: float = 0.0,
    ) -> np.ndarray:
        """Turns the logits of slices into probabilities.

        Args:
          logits: Logits of all slices of some series by each group's mean probability, [g, n, 6].
          z_mm: Positions along the normal of each series, mm, [n].
          series: Key of each slice's series, [n].
          prevalence: Share of slices with a bleed that the result is to hold for, in (0, 1); 0
            keeps the prevalence of the validation patients.

        Returns:
          float64 [n, 6].
        """
        calibrated = [
            group.share * group.calibrator(smooth_logits(rows, z_mm, series, self.smoothing_mm))
            for group, rows in zip(self.groups, logits, strict=True)
        ]
        probabilities: np.ndarray = np.sum(calibrated, axis=0)
        if self.site is not None:
            probabilities = self.site(probabilities)
        if prevalence:
            return shift_prevalence(probabilities, self.prevalence, prevalence)
        return probabilities

    def probabilities_graph(
        self, logits: Sequence[tf.Tensor], z_mm: tf.Tensor | None, prevalence: float = 0.0
    ) -> tf.Tensor:
        """`probabilities` of one series in a graph.

        Args:
          logits: Logits by each group, g tensors, float64 [n, 6].
          z_mm: float64 [n]; None is allowed where `smoothing_mm` is 0.
          prevalence: As for `probabilities`.

        Returns:
          float64 [n, 6].
        """
        import tensorflow as tf

        probabilities = tf.add_n(
            [
                group.share
                * group.calibrator.graph(smooth_logits_graph(rows, z_mm, self.smoothing_mm))
                for group, rows in zip(self.groups, logits, strict=True)
            ]
        )
        if self.site is not None:
            probabilities = self.site.graph(probabilities)
        if prevalence:
            return shift_prevalence_graph(probabilities, self.prevalence, prevalence)
        return probabilities

    def series_probabilities(self, logits: np.ndarray | None) -> np.ndarray | None:
        """Turns a series model's logits of whole series into probabilities.

        They hold for series as common as among the validation patients. They cannot be moved to
        another prevalence, which is one of slices: how many series bleed then is not known.

        Args:
          logits: Logits of m series by each group, [g, m, 6]; None without a series model.

        Returns:
          float64 [m, 6]; None without logits.
        """
        if logits is None:
            return None
        groups = zip(self.groups, logits, strict=True)
        probabilities = np.asarray(
            sum(group.share * group.series_calibrator(rows) for group, rows in groups)
        )
        return probabilities if self.site_series is None else self.site_series(probabilities)

    def series_probabilities_graph(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """`series_probabilities` in a graph: g tensors, float64 [m, 6] -> float64 [m, 6]."""
        import tensorflow as tf

        groups = zip(self.groups, logits, strict=True)
        probabilities = tf.add_n(
            [group.share * group.series_calibrator.graph(rows) for group, rows in groups]
        )
        return probabilities if self.site_series is None else self.site_series.graph(probabilities)

    def threshold(self, level: str, name: str, rule: str = DEFAULT_POINT) -> float | None:
        """Returns the threshold of a class, None where there is none.

        Args:
          level: A key of `aggregation.LEVELS`.
          name: A class, one of `labels.CLASSES`.
          rule: A key of `POINTS`.
        """
        return self.thresholds.get(level, {}).get(rule, {}).get(name)

    @property
    def method(self) -> str:
        """Method of the calibration of slices, a key of `calibrators.METHODS`."""
        return self.groups[0].calibrator.method

    @property
    def weak_classes(self) -> tuple[str, ...]:
        """Classes whose slices are calibrated as exams are: no labelled slice told how."""
        fitted = self.fitted_on
        if "before" in fitted and "weakly_supervised" not in fitted:
            fitted = fitted["before"].get("fitted_on", {})
        return tuple(fitted.get("weakly_supervised", ()))

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted to a model."""
        return bool(self.fitted_on)

    @property
    def sha256(self) -> str:
        """SHA-256 of steps and thresholds, hexadecimal; empty if it was not fitted."""
        if not self.is_fitted:
            return ""
        return hashlib.sha256(json_text(self._content()).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        """All attributes as JSON values; optional ones only where there is something."""
        content = dataclasses.asdict(self)
        return {
            name: value
            for name, value in content.items()
            if value is not None or name not in _OPTIONAL
        }

    def describe(self) -> str:
        """Describes the steps in a few words, for logs and reports."""
        if not self.is_fitted:
            return "not calibrated"
        parts = [f"calibrated by {self.method}" if self.method != "none" else "logits as they are"]
        if self.site is not None:
            parts[0] += f", then at a site by {self.fitted_on['num_patients']} of its patients"
        if len(self.groups) > 1:
            parts[0] += f" for each of {len(self.groups)} folds, then averaged"
        if self.flip:
            parts.append("mean of slice and mirror image")
        if self.smoothing_mm:
            parts.append(f"smoothed over {self.smoothing_mm:g} mm along the series")
        if weak := self.weak_classes:
            of = "" if len(weak) == len(CLASSES) else f" for {', '.join(weak)}"
            parts.append(f"slices weakly supervised{of}: calibrated as exams are")
        return ", ".join(parts)

    def save(self, work_dir: str | Path) -> Path:
        """Writes `calibration.json` into a work dir and returns its path."""
        path = Path(work_dir) / CALIBRATION
        content = {**self._content(), "version": VERSION, "classes": list(CLASSES)}
        write_json(path, content)
        return path
