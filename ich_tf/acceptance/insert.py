"""Insertion into a folder's series: files, masks, labels, and a manifest of what was inserted.

dicom/<case>/<case>_<n>.dcm     copies of the source's files; of a multi-frame file one
masks/<image id>.png            uint8, bit k = class k of `labels.CLASSES`
labels.csv                      classes of every slice, as RSNA's
cases.csv                       a line a case
rejected.csv                    files that are not used, and why
inserted.json                   config and cases with each bleed, written last
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ich_tf.acceptance.case import (
    DICOM,
    MASKS,
    SeriesResult,
    SeriesTask,
    insert_into_series,
    remove_copies,
)
from ich_tf.acceptance.config import InsertConfig
from ich_tf.acceptance.scan import ChosenSeries, choose_series
from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.sources import Source
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import SUBTYPES, write_long_csv
from ich_tf.phantom.shares import apportion, parse_shares
from ich_tf.runtime.csv_cells import text_cell
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.files import write_json, write_parts
from ich_tf.runtime.writing import is_full, writing

MANIFEST, LABELS, CASES, REJECTED = "inserted.json", "labels.csv", "cases.csv", "rejected.csv"
ASSUMPTION = (
    "The scans are taken to have no bleed; nobody checked. A bleed that one of them has counts as "
    "a false alarm, and as part of none of the inserted ones."
)
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class InsertSummary:
    """What was written.

    Attributes:
      out_dir: Folder.
      num_series: Number of series that bleeds were put into.
      num_cases: Number of copies.
      num_slices: Number of slices of all copies.
      num_labelled: Number of them that have a labelled bleed.
      leading: Number of copies by leading subtype.
      problems: Why each other chosen series was not used, by the path of its first file.
      num_rejected: Number of files and frames that are no slice of a chosen series.
    """

    out_dir: Path
    num_series: int
    num_cases: int
    num_slices: int
    num_labelled: int
    leading: dict[str, int]
    problems: dict[str, str]
    num_rejected: int

    def report(self) -> str:
        """Describes the result in a few lines."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.leading.items() if count)
        lines = [
            f"{self.out_dir}: {self.num_cases} cases of {self.num_series} series: {kinds}",
            f"{self.num_slices} slices, {self.num_labelled} of them with a labelled bleed",
        ]
        lines += [f"{path}: {problem}" for path, problem in self.problems.items()]
        if self.num_rejected:
            lines.append(f"{REJECTED}: {self.num_rejected} files or frames are not used")
        lines.append(ASSUMPTION)
        return "\n".join(lines)


def insert_bleeds(config: InsertConfig, num_workers: int = 0) -> InsertSummary:
    """Puts bleeds into the series of a folder.

    Args:
      config: Files and bleeds.
      num_workers: Number of processes; 0 for one per core, 1 for the calling process alone.

    Raises:
      ConfigError: If num_workers is negative.
      InputError: If there is no head CT to use, or `out_dir` is not empty or cannot be written.
    """
    if num_workers < 0:
        raise ConfigError(f"num_workers is {num_workers}; it must be 0 or more.")
    out_dir = Path(config.out_dir)
    listing = list_sources(config.dicom_dir, [out_dir])
    with writing(out_dir):
        _require_empty(out_dir)
    sources = [source for source in listing.sources if not is_nifti(source.name)]
    rejections = [*listing.rejections, *_volumes(listing.sources)]
    # Workers end first, so that none of them writes into what is removed.
    with _all_or_nothing(out_dir), LocalExecutor(num_workers) as executor:
        chosen, others = choose_series(sources, SeriesChoice.parse(config.series), executor)
        rejections += others
        if not chosen:
            first = rejections[0] if rejections else None
            why = f"; the first, {first.path}: {first.reason}, {first.message}" if first else "."
            raise InputError(
                f"{config.dicom_dir}: none of {len(listing)} files is an axial head CT slice{why}"
            )
        leading = _deal(config, len(chosen))
        patients = _first_studies(chosen)
        tasks = [
            SeriesTask(config, series, number, kinds, patients[number])
            for number, (series, kinds) in enumerate(zip(chosen, leading, strict=True))
        ]
        with writing(out_dir):
            (out_dir / DICOM).mkdir()
            (out_dir / MASKS).mkdir()
        results = list(executor.map(insert_into_series, tasks, "insert", _died))
        return _summarise(config, chosen, results, rejections)


@contextlib.contextmanager
def _all_or_nothing(out_dir: Path) -> Iterator[None]:
    """Context of an insertion into an empty folder; after an error all that it wrote is removed."""
    done = False
    try:
        yield
        done = True
    except InputError as error:
        if not is_full(error):
            raise
        raise InputError(
            f"{out_dir}: cannot be written, the disk is full; what was written is removed. Free "
            "some space or give another --out_dir, then run the same command again."
        ) from error
    finally:
        if not done:
            for name in (DICOM, MASKS):
                shutil.rmtree(out_dir / name, ignore_errors=True)
            for name in (LABELS, CASES, REJECTED):
                (out_dir / name).unlink(missing_ok=True)


def _summarise(
    config: InsertConfig,
    chosen: Sequence[ChosenSeries],
    results: Sequence[SeriesResult],
    rejections: Sequence[Rejection],
) -> InsertSummary:
    """Writes the tables and says what became of each series."""
    problems = {
        series.slices[0].source.shown: result.problem
        for series, result in zip(chosen, results, strict=True)
        if result.problem
    }
    for path, problem in problems.items():
        _LOG.warning("%s: its series is not used: %s", path, problem)
    if len(problems) == len(chosen):
        path, problem = next(iter(problems.items()))
        raise InputError(
            f"{config.dicom_dir}: no bleed can be put into any of {len(chosen)} series; the first, "
            f"of {path}: {problem}"
        )
    return _write_tables(config, results, rejections, problems)


def _require_empty(out_dir: Path) -> None:
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir}: is a file. Give --out_dir a folder.")
    out_dir.mkdir(parents=True, exist_ok=True)
    present = {path.name for path in out_dir.iterdir()}
    if not present:
        return
    what = "not empty"
    if MANIFEST in present:
        what = "holds inserted bleeds already"
    elif present <= {DICOM, MASKS, LABELS, CASES, REJECTED}:
        what = f"holds an insertion that was cut off: it has no {MANIFEST}; remove it"
    raise InputError(f"{out_dir}: {what}. Give --out_dir an empty or new folder.")


def _volumes(sources: Sequence[Source]) -> list[Rejection]:
    """Rejections of the NIfTI volumes, whose headers no DICOM file can be derived from."""
    return [
        Rejection(
            source.shown,
            "index",
            Reason.NOT_DICOM.value,
            "is a NIfTI volume; bleeds are put into DICOM files, whose headers they keep.",
        )
        for source in sources
        if is_nifti(source.name)
    ]


def _deal(config: InsertConfig, num_series: int) -> list[tuple[int, ...]]:
    """Leading subtypes of each series' copies, in all as close to the shares as possible."""
    total = num_series * config.per_study
    counts = apportion(parse_shares(config.subtype_shares), total)
    kinds = np.repeat(np.arange(len(SUBTYPES)), counts)
    # Dealt in turns, so that a series gets as many subtypes as it has copies.
    order = np.argsort(np.concatenate([np.arange(c) / max(c, 1) for c in counts]), kind="stable")
    dealt = kinds[order].reshape(num_series, config.per_study)
    return [tuple(int(kind) for kind in row) for row in dealt]


def _first_studies(chosen: Sequence[ChosenSeries]) -> list[str]:
    """For each series the first study of its patient; its own where the file names no patient."""
    first: dict[str, str] = {}
    return [
        first.setdefault(series.slices[0].header.patient_id or series.study_id, series.study_id)
        for series in chosen
    ]


def _died(task: SeriesTask) -> SeriesResult:
    """What stands for a series that ended its worker twice."""
    remove_copies(task)
    return SeriesResult(
        problem="a process that worked on it ended twice, as one does that runs out of memory."
    )


def _write_tables(
    config: InsertConfig,
    results: Sequence[SeriesResult],
    rejections: Sequence[Rejection],
    problems: dict[str, str],
) -> InsertSummary:
    out_dir = Path(config.out_dir)
    cases = [case for result in results for case in result.cases]
    image_ids = [image_id for result in results for image_id in result.image_ids]
    labels = np.array([row for result in results for row in result.labels], np.int64)
    write_long_csv(out_dir / LABELS, image_ids, labels)
    columns = [name for name in cases[0] if name != "bleeds"]
    rows = [(rejection.path, rejection.reason, rejection.message) for rejection in rejections]
    with writing(out_dir):
        _write_csv(out_dir / CASES, columns, [[case[name] for name in columns] for case in cases])
        _write_csv(out_dir / REJECTED, ("path", "reason", "message"), rows)
        write_json(
            out_dir / MANIFEST,
            {
                "config": dataclasses.asdict(config),
                "assumption": ASSUMPTION,
                "not_used": problems,
                "cases": cases,
            },
        )
    leading = {name: sum(case["leading"] == name for case in cases) for name in SUBTYPES}
    return InsertSummary(
        out_dir,
        len({case["source"] for case in cases}),
        len(cases),
        len(image_ids),
        int(labels[:, -1].sum()),
        leading,
        problems,
        len(rejections),
    )


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes a table; None is an empty cell."""
    text = io.StringIO()
    cells = ([text_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows([columns, *cells])
    write_parts(path, [text.getvalue()])
