"""What lies between a model's logits and the probabilities that are shown: `calibration.json`.

Logits -> smoothed along the series -> calibrated -> for another prevalence, if one is given.
`calibration` fits it on validation patients and leaves it beside the weights it was fitted for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.calibrators import Calibrator, shift_prevalence
from ich_tf.inference.postprocessing.smoothing import smooth_logits
from ich_tf.labels import CLASSES
from ich_tf.models.run_files import CALIBRATION
from ich_tf.runtime.files import write_json

VERSION = 2
_CALIBRATORS = ("calibrator", "series_calibrator")
# Rule of an operating point -> `metrics.choose_threshold`'s arguments.
POINTS: dict[str, dict[str, float]] = {
    "youden": {},
    "sensitivity_95": {"sensitivity": 0.95},
    "specificity_95": {"specificity": 0.95},
}
# The point that pages and summaries mark slices by.
DEFAULT_POINT = "youden"

# Level -> rule -> class -> threshold; None where the validation patients lacked the class.
Thresholds = dict[str, dict[str, dict[str, float | None]]]


@dataclasses.dataclass(frozen=True)
class Postprocessing:
    """How logits become probabilities, and probabilities decisions.

    Attributes:
      model_sha256: Of the model it belongs to (`predictor.Predictor.sha256`); empty for any.
      flip: Logits are the mean of a slice's and its mirror image's.
      smoothing_mm: Standard deviation of the Gaussian along the series; 0 for none.
      calibrator: Logits -> probabilities.
      series_calibrator: The same of what a series model says of whole series.
      prevalence: Share of slices with a bleed that the probabilities are true for.
      thresholds: By level, rule and class.
      fitted_on: What it was fitted on, for people; empty if it was not.
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
        """The probabilities of whole series.

        Args:
          logits: [n, 6], of the model.
          z_mm: [n], along each series' normal.
          series: [n], which series each slice is of.
          prevalence: Share of slices with a bleed where they are to be true; 0 for no change.

        Returns:
          float64 [n, 6].
        """
        logits = smooth_logits(logits, z_mm, series, self.smoothing_mm)
        found = self.calibrator(logits)
        return shift_prevalence(found, self.prevalence, prevalence) if prevalence else found

    def series_probabilities(self, logits: np.ndarray | None) -> np.ndarray | None:
        """Of `SeriesLogits.whole`, [6] or [m, 6]: true for series as the validation patients' were.

        They are not moved to another prevalence: how often series bleed where slices do so more or
        less often is not known.
        """
        if logits is None:
            return None
        return self.series_calibrator(np.atleast_2d(logits)).reshape(logits.shape)

    def threshold(self, level: str, name: str, rule: str = DEFAULT_POINT) -> float | None:
        """The threshold of a class; None where there is none."""
        return self.thresholds.get(level, {}).get(rule, {}).get(name)

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted to a model."""
        return bool(self.fitted_on)

    def describe(self) -> str:
        """In a few words."""
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
        """Writes `calibration.json`, and says where."""
        path = Path(work_dir) / CALIBRATION
        content = {**vars(self), "version": VERSION, "classes": list(CLASSES)}
        for name in _CALIBRATORS:
            content[name] = content[name].to_json()
        write_json(path, content)
        return path


def load_postprocessing(work_dir: str | Path, model_sha256: str) -> Postprocessing | None:
    """Reads `calibration.json`.

    Args:
      work_dir: Of the model.
      model_sha256: Of the weights that are there now.

    Returns:
      None if there is none.

    Raises:
      InputError: If it is damaged, or was fitted to other weights.
    """
    path = Path(work_dir) / CALIBRATION
    if not path.is_file():
        return None
    again = f"Run python -m ich_tf.calibrate --work_dir={work_dir}, or delete the file."
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.pop("version") != VERSION or content.pop("classes") != list(CLASSES):
            raise ValueError("another version")
        for name in _CALIBRATORS:
            content[name] = Calibrator.from_json(content[name])
        found = Postprocessing(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a calibration of this version of ich_tf ({error!r}). {again}"
        ) from error
    if found.model_sha256 != model_sha256:
        raise InputError(f"{path}: was fitted to other weights than those beside it. {again}")
    return found
