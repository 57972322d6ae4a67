"""Comparison of models on the same patients: reads, pairs, scores, and writes the results."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ich_tf.comparison.config import CompareConfig
from ich_tf.comparison.decisions import Decisions, agreements
from ich_tf.comparison.differences import Difference, compare_pair
from ich_tf.comparison.measures import (
    ALL_CLASSES,
    OF_DECISIONS,
    SENSITIVITY,
    SPECIFICITY,
    WEIGHTED_LOG_LOSS,
    Measure,
)
from ich_tf.comparison.page import write_page
from ich_tf.comparison.pairing import Paired, pair
from ich_tf.comparison.result import ComparedModel, Comparison
from ich_tf.comparison.score_table import SLICE, read_patients
from ich_tf.comparison.sources import Model, load_model
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES, read_label_table
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.labels.exam_table import read_exam_table
from ich_tf.runtime.files import write_json, write_text
from ich_tf.runtime.writing import writing

_LOG = logging.getLogger(__name__)
_DEFAULT = ("roc_auc", "average_precision", "brier_score")


def compare(config: CompareConfig) -> Comparison:
    """Compares models with a reference, and writes the results.

    Writes comparison.json, comparison.csv and report.html.

    Raises:
      InputError: If predictions cannot be read, are not of the same patients, examples and labels,
        or lack what a metric needs.
    """
    noun = "slices" if config.level == SLICE else "exams"
    models = [
        load_model(
            name,
            Path(path),
            level=config.level,
            split=config.split,
            operating_point=config.operating_point,
        )
        for name, path in config.paths.items()
    ]
    paired = pair(
        models,
        labels=_read_labels(config) if config.labels_csv else None,
        patients=read_patients(Path(config.patients_csv), config.level)
        if config.patients_csv
        else None,
        noun=noun,
    )
    _check_known(paired, config.classes, noun)
    thresholds = _thresholds(config, models)
    measures = _measures(config, models, thresholds)
    of_decisions = [
        Measure(metric, name) for name in config.classes for metric in (SENSITIVITY, SPECIFICITY)
    ]
    differences: list[Difference] = []
    decisions: list[Decisions] = []
    reference = config.reference_name
    for model in models:
        if model.name == reference:
            continue
        both = [thresholds[model.name], thresholds[reference]]
        extra = [
            each
            for each in of_decisions
            if each not in measures and all(each.class_name in given for given in both)
        ]
        found = compare_pair(
            paired,
            model.name,
            reference,
            [*measures, *extra],
            thresholds=thresholds,
            margins=config.margins,
            num_resamples=config.num_resamples,
            seed=config.seed,
        )
        differences += found[: len(measures)]
        decisions += _decisions(paired, found, thresholds, model.name, reference)
    comparison = Comparison(
        level=config.level,
        reference=reference,
        operating_point=config.operating_point,
        num_resamples=config.num_resamples,
        num_examples=len(paired.ids),
        num_patients=len(set(paired.patients.tolist())),
        known={name: int((~np.isnan(paired.labels[:, i])).sum()) for i, name in _named(config)},
        positives={
            name: int((paired.labels[:, i] >= POSITIVE_SHARE).sum()) for i, name in _named(config)
        },
        models=[
            ComparedModel(
                model.name,
                model.path,
                model.description,
                {name: at for name, at in thresholds[model.name].items() if name in config.classes},
                model.table.is_pooled,
            )
            for model in models
        ],
        differences=differences,
        decisions=decisions,
    )
    out_dir = Path(config.out_dir)
    with writing(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
    write_json(out_dir / "comparison.json", dataclasses.asdict(comparison))
    write_text(out_dir / "comparison.csv", _csv(differences))
    write_page(out_dir / "report.html", comparison)
    _LOG.info("results in %s", out_dir)
    return comparison


def _named(config: CompareConfig) -> list[tuple[int, str]]:
    """Numbers and names of the compared classes, each once."""
    return [(CLASSES.index(name), name) for name in dict.fromkeys(config.classes)]


def _read_labels(config: CompareConfig) -> dict[str, np.ndarray]:
    """Id -> labels of --labels_csv; those that contradict each other are missing."""
    if config.level == SLICE:
        images = read_label_table(config.labels_csv).table
        rows = images.to_numpy(np.float64)
        return dict(zip(map(str, images.index), rows, strict=True))
    exams = read_exam_table(config.labels_csv, readers=config.readers)
    return dict(zip(exams.keys, exams.values, strict=True))


def _check_known(paired: Paired, classes: Sequence[str], noun: str) -> None:
    for name in classes:
        if np.isnan(paired.labels[:, CLASSES.index(name)]).all():
            other = "exam" if noun == "slices" else "slice"
            raise InputError(
                f"of none of the {len(paired.ids)} {noun} it is known whether they show {name}, so "
                f"that nothing can be compared. Give other --classes, --level={other}, or "
                "--labels_csv."
            )


def _thresholds(config: CompareConfig, models: Sequence[Model]) -> dict[str, dict[str, float]]:
    """Name of a model -> class -> threshold."""
    given = config.given_thresholds
    found = {}
    for model in models:
        found[model.name] = dict(model.thresholds)
        if model.name in given:
            found[model.name] = dict.fromkeys(config.classes, given[model.name])
        elif not any(name in model.thresholds for name in config.classes):
            _LOG.info(
                "%s has no threshold, so that its decisions are not compared: give "
                "--thresholds=%s=NUMBER, or calibrate and evaluate it",
                model.name,
                model.name,
            )
    return found


def _measures(
    config: CompareConfig, models: Sequence[Model], thresholds: Mapping[str, Mapping[str, float]]
) -> list[Measure]:
    """The metrics to compare; those that were not asked for only where every model has them."""
    lacking = {
        model.name: [
            name
            for i, name in enumerate(CLASSES)
            if np.isnan(model.table.probabilities[:, i]).any()
        ]
        for model in models
    }
    metrics = list(dict.fromkeys(config.metrics))
    if not metrics:
        metrics = ["log_loss" if any(lacking.values()) else WEIGHTED_LOG_LOSS, *_DEFAULT]
        metrics += [name for name in config.margins if name not in metrics]
        if all(name in at for name in config.classes for at in thresholds.values()):
            metrics += [name for name in OF_DECISIONS if name not in metrics]
    measures = [Measure(WEIGHTED_LOG_LOSS, ALL_CLASSES)] if WEIGHTED_LOG_LOSS in metrics else []
    measures += [
        Measure(metric, name)
        for _, name in _named(config)
        for metric in metrics
        if metric != WEIGHTED_LOG_LOSS
    ]
    for measure in measures:
        needed = CLASSES if measure.class_name == ALL_CLASSES else (measure.class_name,)
        for model in models:
            missing = [name for name in lacking[model.name] if name in needed]
            if missing:
                raise InputError(
                    f"{model.path}: model {model.name} has no column {', '.join(missing)}, which "
                    f"{measure.title} needs. Add it, or give other --metrics or --classes."
                )
            if measure.metric in OF_DECISIONS and measure.class_name not in thresholds[model.name]:
                raise InputError(
                    f"{model.path}: model {model.name} has no threshold for "
                    f"{measure.class_name}, which {measure.title} needs. Give "
                    f"--thresholds={model.name}=NUMBER, or calibrate and evaluate it."
                )
    return measures


def _decisions(
    paired: Paired,
    differences: Sequence[Difference],
    thresholds: Mapping[str, Mapping[str, float]],
    model: str,
    reference: str,
) -> list[Decisions]:
    by_class: dict[str, dict[str, Difference]] = {}
    for each in differences:
        if each.metric in OF_DECISIONS:
            by_class.setdefault(each.class_name, {})[each.metric] = each
    found = []
    for name, rates in by_class.items():
        at = thresholds[model][name], thresholds[reference][name]
        counts = agreements(
            paired.labels, paired.probabilities[model], paired.probabilities[reference], name, at
        )
        found.append(
            Decisions(model, reference, name, *at, *counts, rates[SENSITIVITY], rates[SPECIFICITY])
        )
    return found


def _csv(differences: Sequence[Difference]) -> str:
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(Difference)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(each) for each in differences)
    return text.getvalue()
