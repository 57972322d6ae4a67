"""Phantoms and real scans -> their measures, compared."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2

from ich_tf.dicom.reasons import DicomError
from ich_tf.errors import InputError
from ich_tf.image_quality.comparison import RealismResult, compare
from ich_tf.image_quality.config import RealismConfig
from ich_tf.image_quality.measurement import Measurement, measure
from ich_tf.image_quality.report import write_report
from ich_tf.image_quality.series import ListedSeries, list_series
from ich_tf.runtime.executors.local import LocalExecutor

_NO_HEAD = "no brain in it"


def measure_realism(config: RealismConfig) -> RealismResult:
    """Measures phantoms and real scans, compares them, and writes the report.

    Args:
      config: Folders, and the report to write.

    Raises:
      InputError: If a folder holds no series of a head, or the report cannot be written.
    """
    out = Path(config.out)
    # What can be said before minutes of work is said first.
    if not out.parent.is_dir():
        raise InputError(f"--out={out}: there is no folder {out.parent}. Make it first.")
    for path in (out, out.with_suffix(".json")):
        if path.is_dir():
            raise InputError(f"{path}: is a folder. Give another --out.")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"{out.parent}: cannot be written. Give another --out.")
    paths = {"phantoms": config.phantoms, "real": config.real}
    listed = {flag: _listed(f"--{flag}={path}", path, config) for flag, path in paths.items()}
    with LocalExecutor(config.num_workers) as executor:
        measured = {
            flag: _measured(f"--{flag}={path}", executor, *listed[flag])
            for flag, path in paths.items()
        }
    result = dataclasses.replace(
        compare(measured["phantoms"], measured["real"]),
        left_out={flag: dict(left_out) for flag, (_, left_out) in listed.items()},
    )
    write_report(out, result, config)
    return result


def _listed(
    given: str, path: str, config: RealismConfig
) -> tuple[list[ListedSeries], Counter[str]]:
    series, left_out = list_series(path, config.series)
    if not series:
        raise InputError(
            f"{given}: holds no CT series ({_reasons(left_out)}). Expected DICOM or NIfTI "
            "files of heads."
        )
    step = -(-len(series) // config.max_series)
    chosen = series[::step]
    if len(chosen) < len(series):
        left_out[f"beyond --max_series={config.max_series}"] = len(series) - len(chosen)
    return chosen, left_out


def _measured(
    given: str, executor: LocalExecutor, series: Sequence[ListedSeries], left_out: Counter[str]
) -> list[Measurement]:
    """Measures of the series that show a head, in their order."""
    measurements: list[Measurement] = []
    for outcome in executor.map(_measure, series, f"measuring {given}"):
        if isinstance(outcome, str):
            left_out[outcome] += 1
        else:
            measurements.append(outcome)
    if not measurements:
        raise InputError(
            f"{given}: none of {len(series)} series shows a head ({_reasons(left_out)}). Expected "
            "axial slices with 40 cm2 of brain in one of them at least."
        )
    return measurements


def _measure(listed: ListedSeries) -> Measurement | str:
    """Measures of a series, or the reason why there are none."""
    cv2.setNumThreads(1)  # there is a worker on each core
    try:
        return measure(listed.read()) or _NO_HEAD
    except DicomError as error:
        return str(error.reason.value)


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in left_out.most_common()) or "no files"
