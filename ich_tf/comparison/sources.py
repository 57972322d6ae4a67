"""A model to compare: where its predictions are, and what its run says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ich_tf.comparison.score_table import EXAM, SLICE, ScoreTable, read_scores
from ich_tf.errors import InputError
from ich_tf.runtime.json_types import read_object

_PREDICTIONS, _EXAMS, _METRICS = "predictions.csv", "exams.csv", "metrics.json"
_ADVICE = "Run python -m ich_tf.evaluate again, or give a CSV of predictions."
# Level of metrics.json whose thresholds belong to the probabilities of exams.csv: the first there.
_EXAM_LEVELS = ("series_model", "series_max")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A model with its predictions.

    Attributes:
      name: Name that it was given.
      path: File of its predictions.
      table: Predictions.
      thresholds: Class -> least probability of a positive decision; empty if it has none.
      description: What its evaluation says of it: postprocessing, and what it has seen of the
        patients; empty for a CSV.
    """

    name: str
    path: str
    table: ScoreTable
    thresholds: Mapping[str, float]
    description: str


def load_model(name: str, path: Path, *, level: str, split: str, operating_point: str) -> Model:
    """Reads a model's predictions.

    Args:
      name: Name of the model.
      path: Work dir that was evaluated, folder of an evaluation, or a CSV of predictions.
      level: One of `score_table.LEVELS`.
      split: Split whose evaluation is read from a work dir.
      operating_point: Rule of the thresholds in metrics.json.

    Raises:
      InputError: If there are no predictions, or they cannot be read.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder, of which model {name} is to be read. Give a work dir "
            "that was evaluated, or a CSV of predictions."
        )
    if not path.is_dir():
        return Model(name, str(path), read_scores(path, level), {}, "")
    folders = (path, path / "evaluation" / split)
    folder = next((each for each in folders if (each / _PREDICTIONS).is_file()), None)
    if folder is None:
        raise InputError(
            f"{path}: model {name} has no predictions, neither {_PREDICTIONS} nor "
            f"evaluation/{split}/{_PREDICTIONS}. {_ADVICE}"
        )
    file = folder / _PREDICTIONS
    # Evaluations of earlier versions have no exams.csv.
    if level == EXAM and (folder / _EXAMS).is_file():
        file = folder / _EXAMS
    described = folder / _METRICS
    metrics = read_object(described, _Metrics, _ADVICE) if described.is_file() else _Metrics()
    table = read_scores(file, level)
    thresholds = _thresholds(metrics, level, operating_point, is_pooled=table.is_pooled)
    texts = (metrics.model.postprocessing, metrics.model.seen)
    return Model(name, str(file), table, thresholds, "; ".join(filter(None, texts)))


@dataclasses.dataclass(frozen=True)
class _Point:
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold:g}; expected a probability")


@dataclasses.dataclass(frozen=True)
class _Class:
    points: dict[str, _Point | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Level:
    classes: dict[str, _Class] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Evaluated:
    postprocessing: str = ""
    seen: str = ""


@dataclasses.dataclass(frozen=True)
class _Metrics:
    """What is read of an evaluation's metrics.json; those of earlier versions have less."""

    levels: dict[str, _Level] = dataclasses.field(default_factory=dict)
    model: _Evaluated = _Evaluated()


def _thresholds(metrics: _Metrics, level: str, rule: str, *, is_pooled: bool) -> dict[str, float]:
    wanted = (SLICE,) if level == SLICE else _EXAM_LEVELS[1:] if is_pooled else _EXAM_LEVELS
    scores = next((metrics.levels[each] for each in wanted if each in metrics.levels), _Level())
    points = {name: each.points.get(rule) for name, each in scores.classes.items()}
    return {name: point.threshold for name, point in points.items() if point is not None}
