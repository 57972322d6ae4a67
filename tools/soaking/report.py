"""The report of a soak: tables for people, and the same as JSON and CSV."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.soaking.campaign import SoakResult
from tools.soaking.page import page


def summary(result: SoakResult, seed: int) -> str:
    """The report in a sentence."""
    return (
        f"{result.seconds / 60:.1f} min of load, seed {seed}, archive {result.archive}: "
        f"{result.tally.total} requests, {result.tally.num_failures} of them unexpected, "
        f"{result.arrived} studies arrived"
    )


def text(result: SoakResult, seed: int) -> str:
    """The report as lines."""
    lines = [
        summary(result, seed),
        "",
        "Medians of the first, middle and last third; the growth from the middle to the last is "
        "judged.",
    ]
    rows = [
        (verdict.service, verdict.value, verdict.unit, *verdict.cells(), verdict.word())
        for verdict in result.verdicts
    ]
    numbers = ("first", "middle", "last", "peak", "growth", "allowed")
    names = ("service", "value", "unit", *numbers, "")
    lines += [*_table([names, *rows]), "", "Requests by kind and outcome."]
    counts = [
        (kind, outcome, str(count))
        for (kind, outcome), count in sorted(result.tally.counts.items())
    ]
    lines += [*_table([("kind", "outcome", "number"), *counts]), ""]
    if result.problems:
        lines += [f"{len(result.problems)} problems:", *result.problems]
    else:
        lines.append("Flat, and every answer as it should be.")
    return "\n".join(lines)


def write(folder: Path, result: SoakResult, seed: int) -> None:
    """Writes `report.txt`, `report.html`, `report.json` and `samples.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(text(result, seed) + "\n", "utf-8")
    (folder / "report.html").write_text(page(result, summary(result, seed)), "utf-8")
    (folder / "samples.csv").write_text(result.samples, "utf-8")
    content = {
        "seed": seed,
        "seconds": round(result.seconds, 1),
        "archive": result.archive,
        "requests": result.tally.total,
        "unexpected": result.tally.num_failures,
        "arrived": result.arrived,
        "problems": result.problems,
        "values": [
            {
                **dataclasses.asdict(verdict),
                "allowed": None if math.isinf(verdict.allowed) else verdict.allowed,
                "growth": verdict.growth,
                "is_flat": verdict.is_flat,
            }
            for verdict in result.verdicts
        ],
        "counts": [
            {"kind": kind, "outcome": outcome, "number": count}
            for (kind, outcome), count in sorted(result.tally.counts.items())
        ],
    }
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        # Numbers stand to the right.
        cells = [
            cell.rjust(width) if cell[:1].isdigit() or cell[:1] in ("+", "-") else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
