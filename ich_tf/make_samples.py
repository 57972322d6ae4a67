"""Picks studies out of a phantom set that the page offers to try.

  python -m ich_tf.make_samples --phantoms_dir=data/phantoms --out_dir=data/samples

One for each subtype, the one with most of it, and one without a bleed; of held-out patients, whom
no model has seen in training. Exit codes: 0 done, or there already; 1 no phantoms; 2 wrong usage.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ich_tf.runtime import command

if TYPE_CHECKING:
    import pandas as pd

_PHANTOMS = flags.DEFINE_string("phantoms_dir", "data/phantoms", "What ich_tf.make_phantoms wrote.")
_OUT = flags.DEFINE_string("out_dir", "data/samples", "A folder of samples, for --samples_dir.")


def main() -> None:
    """Finds them, copies them."""
    from ich_tf.errors import InputError
    from ich_tf.labels import read_labels

    phantoms, out_dir = Path(_PHANTOMS.value), Path(_OUT.value)
    source = phantoms / "stage_2_test"
    if not source.is_dir():
        raise InputError(f"{source}: no such folder. Run python -m ich_tf.make_phantoms first.")
    if out_dir.is_dir():
        print(f"{out_dir}: there already.")
        return
    labels = read_labels(phantoms / "stage_2_test_labels.csv")
    # Complete or not there at all.
    unfinished = out_dir.with_name(f"{out_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, members in _choose(_series(source), labels):
        folder = unfinished / name
        folder.mkdir(parents=True)
        for path in members:
            shutil.copyfile(path, folder / path.name)
        about = _describe(labels.loc[[path.stem for path in members]])
        (folder / "description.txt").write_text(about + "\n", "utf-8")
        print(f"{out_dir / name}: {about}")
    unfinished.rename(out_dir)


def _series(source: Path) -> list[list[Path]]:
    from ich_tf.dicom.reader import read_headers

    found: dict[str, list[Path]] = {}
    for path in sorted(source.glob("*.dcm")):
        with open(path, "rb") as file:
            (header,) = read_headers(file)
        found.setdefault(header.series_id, []).append(path)
    return list(found.values())


def _choose(found: list[list[Path]], labels: pd.DataFrame) -> Iterator[tuple[str, list[Path]]]:
    """Names and files; a series is chosen once."""
    from ich_tf.labels import CLASSES

    counts = [labels.loc[[path.stem for path in members]].sum() for members in found]
    left = set(range(len(found)))
    for name in CLASSES:
        if name == "any":
            chosen = [place for place in sorted(left) if not counts[place]["any"]]
        else:
            chosen = [place for place in sorted(left) if counts[place][name]]
            chosen.sort(key=lambda place: -counts[place][name])
        if chosen:
            left.remove(chosen[0])
            yield ("none" if name == "any" else name), found[chosen[0]]


def _describe(labels: pd.DataFrame) -> str:
    from ich_tf.labels import CLASSES

    counts = labels.sum()
    parts = [f"{name} in {counts[name]}" for name in CLASSES if name != "any" and counts[name]]
    return f"{len(labels)} slices; {', '.join(parts) or 'no bleed'}."


if __name__ == "__main__":
    command.run(main, __doc__)
