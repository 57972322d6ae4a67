"""Summary of each series: a row of a CSV for people, an object of a JSON file for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.dicom.header import Header
from ich_tf.dicom.series_warnings import SeriesWarning, series_warnings
from ich_tf.inference.postprocessing.abstention import Abstention
from ich_tf.inference.postprocessing.aggregation import (
    SERIES_MODEL,
    SLICE,
    max_probability,
    noisy_or,
)
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, POINTS, Postprocessing
from ich_tf.inference.prediction.store import StoredPrediction, Volumes
from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime.csv_cells import text_cell
from ich_tf.runtime.files import write_parts

SERIES_LEVEL = "series_max"


def write_series_csv(
    path: Path,
    members_of_series: Iterable[Sequence[StoredPrediction]],
    postprocessing: Postprocessing,
    volumes_of: Callable[[Header], Volumes] | None = None,
    abstention: Abstention | None = None,
    supervision: str = "",
) -> tuple[int, Counter[str]]:
    """Writes a row for each series: ids, number of slices, four columns for each class, warnings.

    `<class>` is the greatest probability of a slice, `slice_<class>` the place of that slice from 0
    along the normal of the series; `<class>_decision` is 1 at or above Youden's point for series,
    else 0, and empty without a threshold; `<class>_series` is a series model's probability of the
    series as a whole, empty without one. `decision`, with abstention alone, is yes, no or abstain
    for any bleed. `slice_supervision`, of a weakly supervised model alone, is `weak`. `warnings`
    holds the codes of `series_warnings`, with a space between them.

    Args:
      path: Path of the file.
      members_of_series: Slices of each series with their probabilities, along its normal.
      postprocessing: Steps that made the probabilities, with the thresholds.
      volumes_of: Volumes of the series of a slice; a fifth column, `<class>_ml`, holds those of
        kind `ml`. None for a model without masks.
      abstention: Thresholds by which exams are decided or left to people; None for none.
      supervision: `Predictor.supervision`.

    Returns:
      Number of series, and number of those with each code.
    """
    number, codes = 0, Counter[str]()
    columns = ["study_id", "series_id", "num_slices"]
    for name in CLASSES:
        columns += [name, f"slice_{name}", f"{name}_decision", f"{name}_series"]
        if volumes_of is not None:
            columns.append(f"{name}_ml")
    columns += [] if abstention is None else ["decision"]
    columns += ["slice_supervision", "warnings"] if supervision else ["warnings"]

    def lines() -> Iterator[str]:
        nonlocal number
        yield csv_line(columns)
        for members in members_of_series:
            number += 1
            header, whole = members[0].header, members[0].whole
            row: list[Any] = [header.study_id, header.series_id, len(members)]
            probabilities = np.stack([slice_.values for slice_ in members])
            volumes = {} if volumes_of is None else volumes_of(header)["ml"]
            for i, name in enumerate(CLASSES):
                greatest = float(probabilities[:, i].max())
                row += [repr(greatest), int(probabilities[:, i].argmax())]
                row.append(_decision(greatest, postprocessing.threshold(SERIES_LEVEL, name)))
                row.append("" if whole is None else repr(float(whole[i])))
                if volumes_of is not None:
                    row.append(_or_empty(volumes[name]))
            if abstention is not None:
                row.append(abstention.decide(probabilities, whole)[CLASSES[ANY]])
            found = [warning.code for warning in warnings_of(members)]
            codes.update(found)
            if supervision:
                row.append("weak")
            yield csv_line([*row, " ".join(found)])

    write_parts(path, lines())
    return number, codes


def write_series_json(
    path: Path,
    members_of_series: Iterable[Sequence[StoredPrediction]],
    names: Sequence[str],
    postprocessing: Postprocessing,
    *,
    model_sha256: str,
    prevalence: float,
    volumes_of: Callable[[Header], Volumes] | None = None,
    abstention: Abstention | None = None,
    supervision: str = "",
) -> None:
    """Writes an object with the model, the operating points, and the series with their slices.

    Args:
      path: Path of the file.
      members_of_series: Slices of each series with their probabilities, along its normal.
      names: Names of the files, by `StoredPrediction.source`.
      postprocessing: Steps that made the probabilities, with the thresholds.
      model_sha256: SHA-256 of the model (`Predictor.sha256`).
      prevalence: Prevalence that the probabilities were moved to; 0 for none.
      volumes_of: Volumes of the series of a slice, written as `volumes`; None for a model without
        masks.
      abstention: Thresholds by which exams are decided or left to people, written with the answers
        of each series as `abstention`; None for none.
      supervision: `Predictor.supervision`, written beside the model if it is not empty.
    """
    thresholds = postprocessing.thresholds
    model = {"sha256": model_sha256, "postprocessing": postprocessing.describe()}
    head = {
        "model": {**model, "supervision": supervision} if supervision else model,
        "prevalence": prevalence or None,
        "classes": list(CLASSES),
        "operating_points": {
            level: {rule: thresholds.get(level, {}).get(rule, {}) for rule in POINTS}
            for level in (SLICE, SERIES_LEVEL, SERIES_MODEL)
        },
        **({} if abstention is None else {"abstention": dataclasses.asdict(abstention)}),
        "note": "Research only. Not for clinical use.",
    }

    def parts() -> Iterator[str]:
        yield json.dumps(head)[:-1] + ', "series": ['
        separator = "\n"
        for members in members_of_series:
            volumes = None if volumes_of is None else volumes_of(members[0].header)
            series = _series(members, names, postprocessing, volumes, abstention)
            yield separator + json.dumps(series)
            separator = ",\n"
        yield "\n]}\n"

    write_parts(path, parts())


def csv_line(row: Sequence[Any]) -> str:
    r"""Formats a row as a line of a CSV; texts are ids and names, whatever they begin with.

    Examples:
      >>> csv_line(("a,b", 1))
      '"a,b",1\n'
    """
    buffer = io.StringIO()
    cells = [text_cell(value) if isinstance(value, str) else value for value in row]
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _series(
    members: Sequence[StoredPrediction],
    names: Sequence[str],
    postprocessing: Postprocessing,
    volumes: Volumes | None,
    abstention: Abstention | None,
) -> dict[str, Any]:
    header, whole = members[0].header, members[0].whole
    probabilities = np.stack([slice_.values for slice_ in members])
    return {
        "study_id": header.study_id,
        "series_id": header.series_id,
        **summarize(probabilities, whole, postprocessing, abstention),
        **({} if volumes is None else {"volumes": volumes}),
        "warnings": [warning.as_json() for warning in warnings_of(members)],
        "slices": [
            {
                "image_id": slice_.image_id,
                "file": names[slice_.source].encode("utf-8", "backslashreplace").decode(),
                "frame": slice_.header.frame or None,
                "z_mm": slice_.z_mm,
                "probabilities": _by_class(slice_.values),
            }
            for slice_ in members
        ],
    }


def warnings_of(members: Sequence[StoredPrediction]) -> list[SeriesWarning]:
    """Lists what speaks against believing the predictions of a series.

    Args:
      members: Slices of the series, along its normal.
    """
    headers = [slice_.header for slice_ in members]
    return series_warnings(headers, [slice_.brain_mm2 for slice_ in members])


def summarize(
    probabilities: np.ndarray,
    whole: np.ndarray | None,
    postprocessing: Postprocessing,
    abstention: Abstention | None = None,
) -> dict[str, dict[str, float] | dict[str, bool | None] | dict[str, str] | None]:
    """Summarizes a series by class.

    Args:
      probabilities: Probabilities of its slices, [n, 6].
      whole: Probabilities of the series as a whole by a series model, [6]; None without one.
      postprocessing: Steps that made the probabilities, with the threshold of the decisions.
      abstention: Thresholds by which exams are decided or left to people; None for none.

    Returns:
      `max` and `noisy_or` of the slices' probabilities; `series_model`, `whole` by class or None;
      `decisions`, None for a class without a threshold; and with abstention its answers, `yes`,
      `no` or `abstain` by class, as `abstention`.
    """
    answers = None if abstention is None else abstention.decide(probabilities, whole)
    return {
        "max": _by_class(max_probability(probabilities)),
        "noisy_or": _by_class(noisy_or(probabilities)),
        "series_model": None if whole is None else _by_class(whole),
        "decisions": {
            name: None if threshold is None else bool(probabilities[:, i].max() >= threshold)
            for i, name in enumerate(CLASSES)
            for threshold in (postprocessing.threshold(SERIES_LEVEL, name, DEFAULT_POINT),)
        },
        **({} if answers is None else {"abstention": answers}),
    }


def _decision(probability: float, threshold: float | None) -> str:
    return "" if threshold is None else str(int(probability >= threshold))


def _or_empty(value: float | None) -> str:
    return "" if value is None else repr(value)


def _by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}
