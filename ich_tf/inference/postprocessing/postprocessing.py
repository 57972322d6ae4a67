"""Postprocessing: from logits to probabilities and decisions, stored as `calibration.json`.

The steps are smoothing along the series, calibration, and a shift to another prevalence if one is
given. `inference.calibration` fits them on validation patients and stores them beside the weights.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.postprocessing.prevalence import shift_prevalence, shift_prevalence_graph
from ich_tf.inference.postprocessing.smoothing import smooth_logits, smooth_logits_graph
from ich_tf.labels import CLASSES
from ich_tf.models.run_files import CALIBRATION
from ich_tf.runtime.files import write_json

if TYPE_CHECKING:
    import tensorflow as tf

VERSION = 2
_CALIBRATORS = ("calibrator", "series_calibrator")
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
class Postprocessing:
    """The steps from logits to probabilities, and the thresholds of decisions.

    Attributes:
      model_sha256: SHA-256 of the model that it was fitted for (`Predictor.sha256`); empty for any.
      flip: Whether the logits are the mean of those of a slice and of its mirror image.
      smoothing_mm: Standard deviation of the Gaussian along the series, mm; 0 for no smoothing.
      calibrator: Calibrator of the smoothed logits of slices.
      series_calibrator: Calibrator of a series model's logits of whole series.
      prevalence: Share of slices with a bleed that the probabilities hold for, in (0, 1).
      thresholds: Thresholds of the operating points, by level, rule and class.
      fitted_on: Data and losses of the fit, for people; empty without a fit.
    """

    model_sha256: str = ""
    flip: bool = False
    smoothing_mm: float = 0.0
    calibrator: Calibrator = dataclasses.field(default_factory=Calibrator)
    series_calibrator: Calibrator = dataclasses.field(default_factory=Calibrator)
    prevalence: float = 0.5
    thresholds: Thresholds = dataclasses.field(default_factory=dict)
    fitted_on: dict[str, Any] = dataclasses.field(default_factory=dict)

    def probabilities(
        self,
        logits: np.ndarray,
        z_mm: np.ndarray,
        series: Sequence[str],
        prevalence: float = 0.0,
    ) -> np.ndarray:
        """Turns the logits of slices into probabilities.

        Args:
          logits: Logits of all slices of some series, [n, 6].
          z_mm: Positions along the normal of each series, mm, [n].
          series: Key of each slice's series, [n].
          prevalence: Share of slices with a bleed that the result is to hold for, in (0, 1); 0
            keeps the prevalence of the validation patients.

        Returns:
          float64 [n, 6].
        """
        logits = smooth_logits(logits, z_mm, series, self.smoothing_mm)
        probabilities = self.calibrator(logits)
        if prevalence:
            return shift_prevalence(probabilities, self.prevalence, prevalence)
        return probabilities

    def probabilities_graph(
        self, logits: tf.Tensor, z_mm: tf.Tensor | None, prevalence: float = 0.0
    ) -> tf.Tensor:
        """`probabilities` of one series in a graph.

        Args:
          logits: float64 [n, 6].
          z_mm: float64 [n]; None is allowed where `smoothing_mm` is 0.
          prevalence: As for `probabilities`.

        Returns:
          float64 [n, 6].
        """
        logits = smooth_logits_graph(logits, z_mm, self.smoothing_mm)
        probabilities = self.calibrator.graph(logits)
        if prevalence:
            return shift_prevalence_graph(probabilities, self.prevalence, prevalence)
        return probabilities

    def series_probabilities(self, logits: np.ndarray | None) -> np.ndarray | None:
        """Turns a series model's logits of whole series into probabilities.

        They hold for series as common as among the validation patients. They cannot be moved to
        another prevalence, which is one of slices: how many series bleed then is not known.

        Args:
          logits: `SeriesLogits.whole`, [6] or [m, 6]; None without a series model.

        Returns:
          float64 of the same shape; None without logits.
        """
        if logits is None:
            return None
        return self.series_calibrator(np.atleast_2d(logits)).reshape(logits.shape)

    def threshold(self, level: str, name: str, rule: str = DEFAULT_POINT) -> float | None:
        """Returns the threshold of a class, None where there is none.

        Args:
          level: A key of `aggregation.LEVELS`.
          name: A class, one of `labels.CLASSES`.
          rule: A key of `POINTS`.
        """
        return self.thresholds.get(level, {}).get(rule, {}).get(name)

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted to a model."""
        return bool(self.fitted_on)

    def describe(self) -> str:
        """Describes the steps in a few words, for logs and reports."""
        if not self.is_fitted:
            return "not calibrated"
        calibration = self.calibrator.method
        parts = [f"calibrated by {calibration}" if calibration != "none" else "logits as they are"]
        if self.flip:
            parts.append("mean of slice and mirror image")
        if self.smoothing_mm:
            parts.append(f"smoothed over {self.smoothing_mm:g} mm along the series")
        return ", ".join(parts)

    def save(self, work_dir: str | Path) -> Path:
        """Writes `calibration.json` into a work dir and returns its path."""
        path = Path(work_dir) / CALIBRATION
        content = {**vars(self), "version": VERSION, "classes": list(CLASSES)}
        for name in _CALIBRATORS:
            content[name] = content[name].to_json()
        write_json(path, content)
        return path


def load_postprocessing(work_dir: str | Path, model_sha256: str) -> Postprocessing | None:
    """Reads the `calibration.json` of a work dir.

    Args:
      work_dir: Folder of the model.
      model_sha256: SHA-256 of the model in the folder now (`Predictor.sha256`).

    Returns:
      The postprocessing; None if there is no file.

    Raises:
      InputError: If the file is damaged, or was fitted to other weights.
    """
    path = Path(work_dir) / CALIBRATION
    if not path.is_file():
        return None
    remedy = f"Run python -m ich_tf.calibrate --work_dir={work_dir}, or delete the file."
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.pop("version") != VERSION or content.pop("classes") != list(CLASSES):
            raise ValueError("another version")
        for name in _CALIBRATORS:
            content[name] = Calibrator.from_json(content[name])
        postprocessing = Postprocessing(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a calibration of this version of ich_tf ({error!r}). {remedy}"
        ) from error
    if postprocessing.model_sha256 != model_sha256:
        raise InputError(f"{path}: was fitted to other weights than those beside it. {remedy}")
    return postprocessing
