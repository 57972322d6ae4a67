"""Sample studies: one series of a phantom set for each subtype, and one without a bleed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ich_tf.dicom.reader import read_headers
from ich_tf.errors import InputError
from ich_tf.labels import SUBTYPES, read_labels
from ich_tf.runtime.writing import writing

if TYPE_CHECKING:
    import pandas as pd

NO_BLEED = "none"


def write_samples(phantoms_dir: Path, out_dir: Path) -> dict[str, str]:
    """Copies series of held-out synthetic patients into a folder each.

    The sample of a subtype is the series with the most slices of it; no series is chosen twice.
    A folder is named by its subtype, or `none`, and holds the DICOM files and a description.txt.

    Args:
      phantoms_dir: Folder that `write_dataset` wrote, with a test set.
      out_dir: New folder for the samples. It appears only once it is complete.

    Returns:
      Name of each sample -> its description, for example `32 slices; subdural in 9.`

    Raises:
      InputError: If `phantoms_dir` has no test set.
    """
    source = phantoms_dir / "stage_2_test"
    if not source.is_dir():
        raise InputError(f"{source}: no such folder. Run python -m ich_tf.make_phantoms first.")
    labels = read_labels(phantoms_dir / "stage_2_test_labels.csv")
    unfinished = out_dir.with_name(f"{out_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    descriptions = {}
    with writing(out_dir):
        for name, paths in _choose(_series_files(source), labels).items():
            folder = unfinished / name
            folder.mkdir(parents=True)
            for path in paths:
                shutil.copyfile(path, folder / path.name)
            descriptions[name] = _describe(labels.loc[[path.stem for path in paths]])
            (folder / "description.txt").write_text(descriptions[name] + "\n", "utf-8")
        unfinished.rename(out_dir)
    return descriptions


def _series_files(folder: Path) -> list[list[Path]]:
    """Files of each series, in the order of their names."""
    series: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.dcm")):
        with open(path, "rb") as file:
            (header,) = read_headers(file)
        series.setdefault(header.series_id, []).append(path)
    return list(series.values())


def _choose(series: Sequence[list[Path]], labels: pd.DataFrame) -> dict[str, list[Path]]:
    """Name of each sample -> files of the series chosen for it."""
    counts = [labels.loc[[path.stem for path in paths]].sum() for paths in series]
    remaining = list(range(len(series)))
    chosen = {}
    for name in SUBTYPES:
        # Equal counts: the first series.
        best = max(remaining, key=lambda index: counts[index][name], default=None)
        if best is not None and counts[best][name]:
            remaining.remove(best)
            chosen[name] = series[best]
    for index in remaining:
        if not counts[index]["any"]:
            chosen[NO_BLEED] = series[index]
            break
    return chosen


def _describe(labels: pd.DataFrame) -> str:
    """Number of slices, and of those with each subtype."""
    counts = labels.sum()
    parts = [f"{name} in {counts[name]}" for name in SUBTYPES if counts[name]]
    return f"{len(labels)} slices; {', '.join(parts) or 'no bleed'}."
