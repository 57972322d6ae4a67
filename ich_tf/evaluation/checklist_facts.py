"""What the files of a run know of the items of a checklist; all else is left blank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ich_tf import __version__
from ich_tf.evaluation.checklist_items import ChecklistItem
from ich_tf.evaluation.group_table import secret_fingerprint
from ich_tf.evaluation.result import Evaluation
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import ANY, CLASSES
from ich_tf.records.manifest import Manifest

FILLED, PARTLY, BLANK = "[x]", "[~]", "[ ]"


@dataclass(frozen=True)
class Fact:
    """What a run knows.

    Attributes:
      text: The answer.
      is_whole: Whether it answers an item; else the authors have to add to it.
    """

    text: str
    is_whole: bool = False


def checklist_facts(
    evaluation: Evaluation,
    predictor: Predictor,
    runs: Sequence[Mapping[str, Any]],
    manifest: Manifest,
    *,
    is_own_data: bool,
) -> dict[str, Fact]:
    """Collects what is known of a model and its evaluation, by the names in `checklist_items`.

    Args:
      evaluation: Scores of the model.
      predictor: Model.
      runs: Descriptions of its runs, as the model card has them.
      manifest: Manifest of the evaluated data.
      is_own_data: Whether all runs were trained on these data.
    """
    known = [run for run in runs if not run["missing"]]
    facts = {
        **_of_data(evaluation, predictor, manifest, is_own_data),
        **_of_model(evaluation, predictor, known),
        **_of_results(evaluation),
    }
    tested = Fact(
        f"split {evaluation.split}, {evaluation.num_patients} patients: {evaluation.model['seen']}",
        is_own_data,
    )
    facts["seen"] = Fact(f"{evaluation.num_patients} patients: {evaluation.model['seen']}")
    facts["internal" if is_own_data else "external"] = tested
    return facts


def checklist_rows(
    items: Sequence[ChecklistItem], facts: Mapping[str, Fact]
) -> list[tuple[ChecklistItem, str, str]]:
    """Items with their marks (`FILLED`, `PARTLY`, `BLANK`) and answers, empty where unknown."""
    rows = []
    for item in items:
        fact = facts.get(item.fact)
        if fact is None:
            rows.append((item, BLANK, ""))
        else:
            rows.append((item, FILLED if fact.is_whole else PARTLY, fact.text.replace("|", "/")))
    return rows


def _of_data(
    evaluation: Evaluation, predictor: Predictor, manifest: Manifest, is_own_data: bool
) -> dict[str, Fact]:
    sizes = ", ".join(
        f"{split} {len(patients)}" for split, patients in sorted(manifest.patients.items())
    )
    rows, columns, _ = predictor.record_shape
    neighbours = (
        f"{predictor.neighbours} neighbouring slices" if predictor.neighbours > 1 else "a slice"
    )
    identity = (
        "ids are hashed (HMAC-SHA256) with a secret"
        if secret_fingerprint(manifest)
        else "ids are RSNA's, or hashed (HMAC-SHA256) with a public key: whoever knows one knows "
        "it again"
    )
    labels = "of slices"
    if manifest.has_exams:
        labels = "of exams, or of slices and exams; shares of readers where several voted"
    return {
        "data": Fact(
            f"records with the hash {manifest.fingerprint()['sha256'][:16]}; where they come from "
            "is not known to them"
        ),
        "preprocessing": Fact(
            f"Hounsfield units, {rows} x {columns} px, windows {', '.join(predictor.windows)}, "
            f"crop {predictor.crop}, {neighbours}; damaged files and "
            "equal ones are left out, each with its reason (quarantine of the conversion)",
            True,
        ),
        "chosen": Fact(
            "series and slices left out are in the conversion's quarantine, with reasons"
        ),
        "identity": Fact(f"{identity}; text in the pixels is not looked for"),
        "missing": Fact(
            "an unknown label is left out of losses and scores, class by class, and never taken "
            "for negative; images that cannot be read are left out with a reason"
        ),
        "acquisition": Fact(
            "scanner, gantry tilt and distance of slices of each record; subgroups by them above"
        ),
        "reference": Fact(f"labels {labels}, from a CSV; how they were made is not known to it"),
        "partitions": Fact(
            f"at random by patient, stratified by labels; patients: {sizes}", is_own_data
        ),
        "disjoint": Fact("patients: none is in two partitions", is_own_data),
        "numbers": Fact(
            f"{evaluation.num_slices} slices, {evaluation.num_series} series, "
            f"{evaluation.num_patients} patients of {evaluation.split}; patients of all splits: "
            f"{sizes}"
        ),
    }


def _of_model(
    evaluation: Evaluation, predictor: Predictor, runs: Sequence[Mapping[str, Any]]
) -> dict[str, Fact]:
    postprocessing = predictor.postprocessing
    facts = {
        "kind": Fact(f"deep learning: {predictor.describe()}", True),
        "model": Fact(
            f"{predictor.describe()}; input and output under Model above; "
            f"{postprocessing.describe()}",
            True,
        ),
        "predictors": Fact("the pixels of one scan; nothing else of the patient"),
        "specification": Fact(
            f"weights with the SHA-256 {predictor.sha256[:16]} and calibration.json, which "
            "predict, export and serve read"
        ),
        "ensemble": Fact(
            f"mean of the probabilities of {predictor.num_averaged} models"
            if predictor.num_averaged > 1
            else "none: one model",
            True,
        ),
        "limitations": Fact("under Limits above, as far as any such model has them"),
        "explanations": Fact("heat maps (integrated gradients) of slices in report.html"),
        "availability": Fact(
            f"software: ich_tf {__version__}, Apache License 2.0; of model and data nothing is "
            "known"
        ),
        "poor_input": Fact(
            "predict lists files that it cannot read, and warns of series without a head, cut off, "
            "with gaps or with contrast"
        ),
        "imbalance": Fact(
            "loss weighted by class as in the RSNA challenge; numbers of positives in the table "
            "above"
        ),
    }
    if postprocessing.is_fitted:
        fitted = postprocessing.fitted_on
        splits = ", ".join(fitted.get("splits", []))
        facts["calibration"] = Fact(
            f"{postprocessing.describe()}, fitted on {fitted.get('num_patients', 'unknown')} "
            f"patients ({splits})"
        )
        facts["output"] = Fact(
            "a probability for each class; thresholds at Youden's point, at a sensitivity of 0.95 "
            "and at a specificity of 0.95 of validation patients",
            True,
        )
    if runs:
        folds = ", ".join(str(run["fold"]) for run in runs)
        facts["initial"] = Fact(
            "; ".join(dict.fromkeys(text for run in runs for text in run["started_from"])), True
        )
        facts["training"] = Fact(
            "recipe of each run under Training above; all in config.json", True
        )
        facts["selection"] = Fact(
            f"epoch with the least loss on validation patients (fold {folds})", True
        )
        sessions = [session for run in runs for session in run["sessions"]]
        versions = {
            f"{name} {version}"
            for session in sessions
            for name, version in session.versions.items()
        }
        if versions:
            facts["software"] = Fact(f"ich_tf {__version__}, {', '.join(sorted(versions))}", True)
    return facts


def _of_results(evaluation: Evaluation) -> dict[str, Fact]:
    main = evaluation.levels[evaluation.level]
    of_any = main.classes[CLASSES[ANY]]
    has_intervals = main.weighted_log_loss.low is not None
    groups = [group for group in evaluation.groups if group.column != "all"]
    columns = ", ".join(dict.fromkeys(group.column for group in groups))
    facts = {
        "metrics": Fact(
            "weighted log loss, AUC, average precision, Brier score, calibration error, "
            "sensitivity, specificity, predictive values, net benefit",
            True,
        ),
        "performance": Fact(
            f"{evaluation.noun}: weighted log loss {main.weighted_log_loss.text(4)}, AUC of any "
            f"{of_any.roc_auc.text()}; subgroups above",
            has_intervals,
        ),
        "outcomes": Fact(
            f"{of_any.positives} of {of_any.number} {evaluation.noun} of {evaluation.split} with "
            "any bleed; classes in the table above"
        ),
        "failures": Fact("the worst misses and false alarms in report.html, without an analysis"),
        "robustness": Fact(
            f"subgroups by scanner, geometry and size of the bleed; groups by {columns}"
            if columns
            else "subgroups by scanner, geometry and size of the bleed; none by sex, age or site"
        ),
    }
    if has_intervals:
        facts["uncertainty"] = Fact("95 % intervals by resampling patients", True)
    if point := of_any.points.get(DEFAULT_POINT):
        facts["accuracy"] = Fact(
            f"any, {evaluation.noun}: sensitivity {point.sensitivity.text()}, specificity "
            f"{point.specificity.text()} at a threshold of validation patients",
            point.sensitivity.low is not None and point.specificity.low is not None,
        )
    if groups:
        facts["characteristics"] = Fact(f"numbers of patients by {columns} in report.html")
        if any("site" in group.column.lower() for group in groups):
            facts["clusters"] = Fact("scores by site in report.html", True)
    return facts
