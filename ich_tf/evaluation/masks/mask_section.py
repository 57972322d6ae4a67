"""The report's section on masks: tables, charts of volumes, outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ich_tf.evaluation.masks.mask_estimate import MaskEstimate
from ich_tf.evaluation.masks.mask_evaluation import MaskClassScores, ScoredSeries, SizeScores
from ich_tf.evaluation.masks.outlines import OutlinedSeries, OutlinedSlice, outline_path
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import bland_altman
from ich_tf.metrics.voxel_grid import marked_box
from ich_tf.runtime import html
from ich_tf.runtime.scatter_chart import ChartAxis, round_range, scatter_chart

# `any` first: most readers look for it first.
_ORDER = (CLASSES[ANY], *CLASSES[:ANY])
# Grey values up to it are air, and the margin around the head, px.
_BLACK, _MARGIN = 8, 2


def mask_section(
    masks: dict[str, MaskClassScores],
    scored: Sequence[ScoredSeries],
    pictures: Sequence[OutlinedSeries],
) -> dict[str, Any]:
    """Content of the section for its template.

    Args:
      masks: Scores by class, as of the evaluation.
      scored: Scores of each series.
      pictures: Series to show.
    """
    names = [name for name in _ORDER if name in masks]
    shown = [name for name in names if masks[name].num_bleeds]
    return {
        "headline": mask_headline(masks[names[0]], names[0]),
        "rows": [(name, masks[name]) for name in names],
        "shown": shown,
        "levels": [(name, masks[name]) for name in shown],
        "volumes": _by_size({name: masks[name].volumes for name in shown}),
        "lesions": _by_size({name: masks[name].lesions for name in names}),
        "charts": [
            _charts(name, [each for each in scored if each.class_name == name and each.has_bleed])
            for name in shown
        ],
        "pictures": [_pictures(name, pictures) for name in shown],
    }


def mask_headline(scores: MaskClassScores, name: str) -> list[tuple[str, str]]:
    """Name and text of the scores that matter most, of one class."""
    series = scores.series
    return [
        (f"Dice, {name}", series["dice"].text()),
        ("surface Dice at 2 mm", series["surface_dice"].text()),
        ("HD95, mm", series["hausdorff_mm"].text(1)),
        ("volume error, median", percent(series["volume_error_share"])),
        ("volume bias, ml", series["volume_bias_ml"].text(2)),
        ("false ml a negative series", series["false_ml"].text(2)),
    ]


def percent(estimate: MaskEstimate) -> str:
    """A share with its interval, in per cent.

    Examples:
      >>> percent(MaskEstimate(0.124, 0.1, 0.2, 60, 40))
      '12.4 % [10.0, 20.0]'
    """
    ends = [100 * end if isinstance(end, float) else end
            for end in (estimate.value, estimate.low, estimate.high)]  # fmt: skip
    value, low, high = ends
    of_100 = MaskEstimate(value, low, high, estimate.num_scored, estimate.num_patients)
    number, *interval = of_100.text(1).split(" [")
    return number if number == "undefined" else " [".join([f"{number} %", *interval])


def _by_size(sizes: dict[str, list[SizeScores]]) -> dict[str, dict[str, Any]]:
    """Size -> class -> scores, sizes from small to large."""
    names = dict.fromkeys(size.name for rows in sizes.values() for size in rows)
    by_size: dict[str, dict[str, Any]] = {name: {} for name in sorted(names, key=_first_number)}
    for class_name, rows in sizes.items():
        for size in rows:
            by_size[size.name][class_name] = size.scores
    return by_size


def _first_number(size: str) -> float:
    first = size.removeprefix("below ").split()[0]
    return float(first) - (0.5 if size.startswith("below") else 0)


def _charts(name: str, rows: Sequence[ScoredSeries]) -> dict[str, Any]:
    """Dice by volume, volumes, and their Bland-Altman plot, of series with a bleed."""
    true = np.array([row.scores.reference_ml for row in rows])
    predicted = np.array([row.scores.predicted_ml for row in rows])
    texts = [_text(row) for row in rows]
    low, high = round_range(float(true.min()), float(max(true.max(), predicted.max())))
    volume = ChartAxis("true volume, ml", low, high, log=True)
    dice = [
        {"x": x, "y": row.scores.dice, "text": text}
        for x, row, text in zip(true, rows, texts, strict=True)
    ]
    volumes = [
        {"x": x, "y": y, "text": text} for x, y, text in zip(true, predicted, texts, strict=True)
    ]
    return {
        "name": name,
        "number": len(rows),
        "dice": scatter_chart(dice, volume, ChartAxis("Dice", 0, 1)),
        "volumes": scatter_chart(
            volumes,
            volume,
            ChartAxis("volume by the model, ml", low, high, log=True),
            [{"x": (low, high), "y": (low, high), "kind": "diagonal", "text": ""}],
        ),
        "agreement": _agreement(true, predicted, texts),
    }


def _agreement(true: np.ndarray, predicted: np.ndarray, texts: Sequence[str]) -> dict[str, Any]:
    """Bland-Altman plot: differences over means, with bias and limits."""
    means, differences = (true + predicted) / 2, predicted - true
    agreement = bland_altman(true, predicted)
    ends = [
        (text, float(value))
        for text, value in (
            ("bias", agreement.bias_ml),
            ("95 % limit", agreement.low_ml),
            ("95 % limit", agreement.high_ml),
        )
        if np.isfinite(value)
    ]
    reach = 1.1 * max([1e-3, *np.abs(differences), *(abs(value) for _, value in ends)])
    low, high = round_range(float(means.min()), float(means.max()))
    points = [
        {"x": x, "y": y, "text": text} for x, y, text in zip(means, differences, texts, strict=True)
    ]
    lines = [{"x": (low, high), "y": (0, 0), "kind": "diagonal", "text": ""}]
    lines += [
        {
            "x": (low, high),
            "y": (value, value),
            "kind": "trend" if text == "bias" else "trend limit",
            "text": f"{text} {value:+.2g}",
        }
        for text, value in ends
    ]
    return scatter_chart(
        points,
        ChartAxis("mean of both volumes, ml", low, high, log=True),
        ChartAxis("model minus truth, ml", -reach, reach),
        lines,
    )


def _text(row: ScoredSeries) -> str:
    scores = row.scores
    return (
        f"{row.series_key[:16]}: {scores.reference_ml:.1f} ml true, {scores.predicted_ml:.1f} ml "
        f"by the model, Dice {scores.dice:.2f}"
    )


def _pictures(name: str, pictures: Sequence[OutlinedSeries]) -> dict[str, Any]:
    series = [
        {
            "rank": each.rank,
            "key": each.scored.series_key,
            "text": _text(each.scored).split(": ", 1)[1],
            "box": _head(each.slices),
            "slices": [_picture(slice_) for slice_ in each.slices],
        }
        for each in pictures
        if each.scored.class_name == name
    ]
    return {"name": name, "series": series}


def _head(slices: Sequence[OutlinedSlice]) -> str:
    """Left, top, width and height of the square that holds what is not black in the slices."""
    shown = np.max([slice_.grey for slice_ in slices], axis=0) > _BLACK
    rows, columns = marked_box(shown)
    side = max(rows.stop - rows.start, columns.stop - columns.start) + 2 * _MARGIN
    top, left = (rows.start + rows.stop - side) / 2, (columns.start + columns.stop - side) / 2
    return f"{left:g} {top:g} {side} {side}"


def _picture(slice_: OutlinedSlice) -> dict[str, Any]:
    height, width = slice_.grey.shape
    return {
        "id": slice_.source_id,
        "number": slice_.number,
        "width": width,
        "height": height,
        "grey": html.png_base64(slice_.grey),
        "truth": outline_path(slice_.reference),
        "model": outline_path(slice_.prediction),
    }
