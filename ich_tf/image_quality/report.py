"""A comparison of phantoms with real scans as one HTML page, and a JSON file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.image_quality.comparison import RealismResult, mean_histogram
from ich_tf.image_quality.config import RealismConfig
from ich_tf.image_quality.measurement import Measurement
from ich_tf.image_quality.table import (
    as_json,
    left_out_notes,
    number,
    single_note,
    spread_note,
    summary,
)
from ich_tf.image_quality.tissues import HISTOGRAMS
from ich_tf.runtime import html
from ich_tf.runtime.files import write_json, write_text
from ich_tf.runtime.scatter_chart import ChartAxis, scatter_chart

_MOST_LINES = 12
_MOST_SHOWN = 6
_GIVEAWAYS = 12


def write_report(path: Path, result: RealismResult, config: RealismConfig) -> None:
    """Writes the page, and the numbers beside it.

    Args:
      path: HTML file to write; the JSON file has its name with another ending.
      result: The comparison.
      config: Config that it was made with.

    Raises:
      InputError: If the files cannot be written.
    """
    content = {
        "result": result,
        "config": config,
        "headline": _headline(result),
        "summary": summary(result),
        "spread_note": spread_note(result),
        "left_out_notes": left_out_notes(result),
        "number": number,
        "single_note": single_note,
        "pictures": [
            ("Phantoms", _pictures(result.phantoms)),
            ("Real scans", _pictures(result.real)),
        ],
        "charts": [*_curves(result), *_histograms(result)],
        "giveaways": _GIVEAWAYS,
    }
    write_text(path, html.render("ich_tf.image_quality", "realism.html", content))
    write_json(path.with_suffix(".json"), as_json(result))


def _headline(result: RealismResult) -> list[tuple[str, str]]:
    comparisons = [c for group in result.comparisons.values() for c in group]
    measured = [c for c in comparisons if np.isfinite(c.distance)]
    within = sum(c.verdict == "within the spread" for c in measured)
    return [
        ("phantom series", str(len(result.phantoms))),
        ("real series", str(len(result.real))),
        ("statistics within the real spread", f"{within} of {len(measured)}"),
        ("real medians that phantoms cover", f"{sum(c.is_covered for c in measured)}"),
        *((f"AUC, patches of {d.kind}", number(d.auc)) for d in result.discriminations),
    ]


def _pictures(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [
        {"name": m.name, "images": [html.png_base64(image) for image in m.pictures]}
        for m in measurements[:: -(-len(measurements) // _MOST_SHOWN)]
    ]


def _curves(result: RealismResult) -> list[dict[str, Any]]:
    """Charts of the noise power spectra and of the modulation transfer functions."""
    spectra, transfers = [], []
    for measurement, kind in _members(result):
        density = measurement.noise.spectrum * 1.0
        total = np.nansum(density * measurement.noise.frequencies)
        if total > 0:
            # Each of the same noise level: what differs is the grain.
            share = density / total / (2 * np.pi * 0.05)
            spectra.append((measurement.noise.frequencies, share, kind))
        if np.isfinite(measurement.sharpness.mtf).all():
            sharpness = measurement.sharpness
            transfers.append((sharpness.frequencies, sharpness.mtf, kind))
    return [
        _chart("Noise power in white matter, each of variance 1", "cycles per mm", "mm2", spectra),
        _chart("Modulation, from the inner table", "cycles per mm", "modulation", transfers),
    ]


def _histograms(result: RealismResult) -> list[dict[str, Any]]:
    charts = []
    for name, range_ in HISTOGRAMS.items():
        middles = (range_.edges[1:] + range_.edges[:-1]) / 2
        lines = [
            # The bins of air would hide all others.
            (middles, np.sqrt(mean_histogram(name, measurements)), kind)
            for measurements, kind in ((result.phantoms, "phantom"), (result.real, "real"))
        ]
        distance = number(result.histogram_distances[name])
        title = f"{name}: {distance} HU apart"
        charts.append(_chart(title, "HU", "root of the share of pixels", lines))
    return charts


def _members(result: RealismResult) -> list[tuple[Measurement, str]]:
    return [
        (measurement, kind)
        for measurements, kind in ((result.phantoms, "phantom"), (result.real, "real"))
        for measurement in measurements[:: -(-len(measurements) // _MOST_LINES)]
    ]


def _chart(
    title: str, x_name: str, y_name: str, lines: Sequence[tuple[np.ndarray, np.ndarray, str]]
) -> dict[str, Any]:
    """A chart of lines, each with x, y and `phantom` or `real`."""
    if not lines:
        return {"title": title, "chart": None}
    drawn = []
    for x, y, kind in lines:
        there = np.isfinite(y)
        drawn.append({"x": x[there].tolist(), "y": y[there].tolist(), "kind": kind, "text": ""})
    xs = [value for line in drawn for value in line["x"]]
    highest = max(value for line in drawn for value in line["y"])
    x_axis = ChartAxis(x_name, min(xs), max(xs))
    y_axis = ChartAxis(y_name, 0.0, 1.05 * highest or 1.0)
    return {"title": title, "chart": scatter_chart([], x_axis, y_axis, drawn)}
