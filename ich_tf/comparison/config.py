"""Config of a comparison."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ich_tf.comparison.measures import MEASURES
from ich_tf.comparison.score_table import LEVELS, SLICE
from ich_tf.errors import ConfigError
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, POINTS
from ich_tf.labels import ANY, CLASSES
from ich_tf.labels.exam_table import READERS
from ich_tf.runtime.options import check_options, option, require
from ich_tf.runtime.paths import user_path


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Options of a comparison: each is a flag of ich_tf.compare, with its help.

    Raises:
      ConfigError: If an option is out of range.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "models": "Models",
        "level": "Scores",
        "labels_csv": "Labels and patients of CSV files",
        "num_resamples": "Intervals",
        "out_dir": "Results",
    }

    models: tuple[str, ...] = option(
        (),
        "Two models or more, as name=path: a work dir that was evaluated, the folder of an "
        "evaluation, or anybody's CSV with an id and a column for each class.",
    )
    reference: str = option(
        "", "Name of the model that the others are compared with. Empty: the first."
    )
    split: str = option("test", "Split whose evaluation is read from a work dir.")
    level: str = option(
        SLICE, "What is scored: each slice, or each exam, which is a series.", LEVELS
    )
    metrics: tuple[str, ...] = option(
        (),
        f"Metrics, of {', '.join(MEASURES)}. Empty: those that the files allow, but for the "
        "unweighted log loss where there is a weighted one.",
    )
    classes: tuple[str, ...] = option(
        (CLASSES[ANY],), f"Classes that are compared, of {', '.join(CLASSES)}."
    )
    operating_point: str = option(
        DEFAULT_POINT,
        "Rule by which calibrate chose the thresholds of decisions.",
        tuple(POINTS),
    )
    thresholds: tuple[str, ...] = option(
        (),
        "Thresholds of decisions as name=number, for models that are CSV files, or in place of "
        "the calibration's.",
    )
    margin: tuple[str, ...] = option(
        (),
        "Margins of non-inferiority as metric=number: a model is non-inferior if its 95 % interval "
        "excludes a loss of so much. Choose them before the models are scored.",
    )
    labels_csv: str = option(
        "",
        "Labels of the slices or exams, as make_tfrecords reads them. Empty: those of the models' "
        "files.",
        is_path=True,
    )
    readers: str = option("majority", "How a table of several readers makes a label.", READERS)
    patients_csv: str = option(
        "",
        "Columns id and patient. Empty: the patients of the models' files.",
        is_path=True,
    )
    num_resamples: int = option(
        1000, "Number of bootstrap resamples of the patients.", within="[100, inf)"
    )
    seed: int = option(0, "Seed of the resampling.", within="[0, inf)")
    out_dir: str = option(
        "runs/comparison",
        "Folder for comparison.json, comparison.csv and report.html.",
        is_path=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        paths = self.paths
        names = ", ".join(paths)
        require(
            len(paths) > 1,
            "models",
            ",".join(self.models),
            "two models or more, as name=path,name=path",
        )
        known = self.reference in ("", *paths)
        require(known, "reference", self.reference, f"one of the models, {names}")
        for name in self.metrics:
            require(name in MEASURES, "metrics", name, f"among {', '.join(MEASURES)}")
        require(bool(self.classes), "classes", "", f"one or more of {', '.join(CLASSES)}")
        for name in self.classes:
            require(name in CLASSES, "classes", name, f"among {', '.join(CLASSES)}")
        for name in self.given_thresholds:
            require(name in paths, "thresholds", name, f"the name of a model, of {names}")
        for name, value in self.margins.items():
            require(name in MEASURES, "margin", name, f"a metric, of {', '.join(MEASURES)}")
            require(value >= 0, "margin", value, "0 or more")
            asked = not self.metrics or name in self.metrics
            require(asked, "margin", name, f"of one of --metrics, {', '.join(self.metrics)}")
        require(bool(self.out_dir), "out_dir", self.out_dir, "a folder")

    @property
    def paths(self) -> dict[str, str]:
        """Name of each model -> its path."""
        found: dict[str, str] = {}
        for text in self.models:
            name, separator, path = text.partition("=")
            if not (separator and name.strip() and path.strip()):
                raise ConfigError(f"models is {text!r}; it must be name=path.")
            if name.strip() in found:
                raise ConfigError(f"models is {text!r}; its name is another model's, too.")
            try:
                found[name.strip()] = user_path(path.strip())
            except ValueError as error:
                raise ConfigError(f"models is {text!r}; {error}") from error
        return found

    @property
    def reference_name(self) -> str:
        """Name of the reference."""
        return self.reference or next(iter(self.paths))

    @property
    def given_thresholds(self) -> dict[str, float]:
        """Name of a model -> its threshold, of `thresholds`."""
        found = _numbers("thresholds", self.thresholds)
        for name, value in found.items():
            require(0 <= value <= 1, "thresholds", f"{name}={value:g}", "in [0, 1]")
        return found

    @property
    def margins(self) -> dict[str, float]:
        """Metric -> margin."""
        return _numbers("margin", self.margin)


def _numbers(option_name: str, texts: tuple[str, ...]) -> dict[str, float]:
    """Numbers by name, of texts such as `roc_auc=0.02`."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"{option_name} is {text!r}; it must be name=number.")
        if name.strip() in found:
            raise ConfigError(f"{option_name} has {name.strip()} twice; give it once.")
        found[name.strip()] = value
    return found
