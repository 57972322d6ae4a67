"""A comparison as text for a terminal, and as JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ich_tf.image_quality.comparison import LEAST_SERIES, Comparison, RealismResult
from ich_tf.image_quality.discrimination import Discrimination
from ich_tf.image_quality.measurement import Measurement

_GIVEAWAYS = 8


def text_table(result: RealismResult) -> str:
    """The comparison as lines of text: statistics by heading, then patches."""
    lines = [
        f"{len(result.phantoms)} phantom series, {len(result.real)} real series",
        *left_out_notes(result),
        spread_note(result),
    ]
    columns = f"{'phantoms':>10} {'5 % to 95 %':>19}{'real':>10}{'spread':>9}{'distance':>10}"
    for heading, comparisons in result.comparisons.items():
        lines += ["", f"{heading:<26}{columns}", *map(_line, comparisons)]
    lines += ["", "Histograms: distance of phantoms from real scans, HU"]
    lines += [f"  {name:<24}{value:10.1f}" for name, value in result.histogram_distances.items()]
    for found in result.discriminations:
        folds = ", ".join(number(auc) for auc in found.fold_aucs)
        lines += [
            "",
            f"Patches of {found.kind}: held-out AUC {number(found.auc)} (folds {folds})",
            f"  {found.num_phantom} and {found.num_real} patches; {found.held_out}",
            *(f"  {note}" for note in [single_note(found)] if note),
        ]
        lines += [
            f"  {g.name:<28} AUC alone {g.auc:.2f}, weight {g.weight:+.2f}, phantoms "
            f"{g.phantom:.3g}, real {g.real:.3g}"
            for g in found.giveaways[:_GIVEAWAYS]
        ]
    lines += ["", summary(result)]
    return "\n".join(lines)


def summary(result: RealismResult) -> str:
    """Number of statistics by verdict, in one sentence."""
    comparisons = [c for group in result.comparisons.values() for c in group]
    measured = [c for c in comparisons if math.isfinite(c.distance)]
    within = sum(c.verdict == "within the spread" for c in measured)
    near = sum(c.verdict == "near" for c in measured)
    covered = sum(c.is_covered for c in measured)
    return (
        f"{within} of {len(measured)} statistics are within the real spread, {near} near it, "
        f"{len(measured) - within - near} apart; {covered} real medians lie between the phantoms' "
        f"5th and 95th percentile; {len(comparisons) - len(measured)} not measurable."
    )


def single_note(found: Discrimination) -> str:
    """What AUC single phantoms have; empty where they are not needed."""
    if not found.single_aucs:
        return ""
    low, middle, high = np.percentile(found.single_aucs, [0, 50, 100])
    return (
        f"one phantom told from the others in the same way: median {number(middle)}, "
        f"{number(low)} to {number(high)}, {len(found.single_aucs)} phantoms"
    )


def left_out_notes(result: RealismResult) -> list[str]:
    """What was not compared, and why: a line for the phantoms and one for the real scans."""
    return [
        f"Left out of --{flag} (files, slices or series): "
        + ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        for flag, reasons in result.left_out.items()
        if reasons
    ]


def spread_note(result: RealismResult) -> str:
    """What the spread is that distances are counted in."""
    if result.spread_of == "series":
        return "Spread: between the medians of the real series."
    return (
        f"Spread: between the slices of the real series, since there are fewer than {LEAST_SERIES} "
        "of them. It is not that between patients, which may be larger or smaller."
    )


def number(value: float) -> str:
    """Three significant digits; `-` for what could not be measured.

    Examples:
      >>> number(0.12345), number(1234.5), number(float("nan"))
      ('0.123', '1234', '-')
    """
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(result: RealismResult) -> dict[str, Any]:
    """The comparison as JSON: statistics, histograms, patches, and the series' own medians."""
    return {
        "summary": summary(result),
        "spread": spread_note(result),
        "left_out": result.left_out,
        "statistics": {
            heading: {c.statistic.name: _comparison(c) for c in comparisons}
            for heading, comparisons in result.comparisons.items()
        },
        "histogram_distances_hu": result.histogram_distances,
        "patches": {
            found.kind: {
                "auc": _finite(found.auc),
                "fold_aucs": list(found.fold_aucs),
                "single_phantom_aucs": list(found.single_aucs),
                "num_phantom": found.num_phantom,
                "num_real": found.num_real,
                "held_out": found.held_out,
                "giveaways": [
                    {
                        "feature": g.name,
                        "auc": g.auc,
                        "weight": g.weight,
                        "phantom": g.phantom,
                        "real": g.real,
                    }
                    for g in found.giveaways
                ],
            }
            for found in result.discriminations
        },
        "phantoms": [_series(measurement) for measurement in result.phantoms],
        "real": [_series(measurement) for measurement in result.real],
    }


def _line(comparison: Comparison) -> str:
    c = comparison
    if not math.isfinite(c.distance):
        return f"  {c.statistic.name:<24} {c.verdict}"
    band = f"{number(c.phantom_low)} to {number(c.phantom_high)}"
    covered = "" if c.is_covered else ", not covered"
    return (
        f"  {c.statistic.name:<24}{number(c.phantom):>10} {band:>19}{number(c.real):>10}"
        f"{number(c.spread):>9}{c.distance:>10.1f}  {c.verdict}{covered}"
    )


def _comparison(comparison: Comparison) -> dict[str, Any]:
    c = comparison
    return {
        "unit": c.statistic.unit,
        "meaning": c.statistic.meaning,
        "phantoms": _finite(c.phantom),
        "phantoms_5_percent": _finite(c.phantom_low),
        "phantoms_95_percent": _finite(c.phantom_high),
        "real": _finite(c.real),
        "spread": _finite(c.spread),
        "distance": _finite(c.distance),
        "is_covered": c.is_covered,
        "verdict": c.verdict,
    }


def _series(measurement: Measurement) -> dict[str, Any]:
    m = measurement
    return {
        "name": m.name,
        "slices": m.num_slices,
        "slices_with_brain": m.slices_with_brain,
        "pixel_mm": m.pixel_mm,
        "thickness_mm": m.thickness_mm,
        "kernel": m.kernel,
        "medians": {name: _finite(m.median(name)) for name in m.statistics},
        "noise_frequencies": m.noise.frequencies.tolist(),
        "noise_spectrum": [_finite(value) for value in m.noise.spectrum.tolist()],
        "mtf_frequencies": m.sharpness.frequencies.tolist(),
        "mtf": [_finite(value) for value in m.sharpness.mtf.tolist()],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
