"""The folder: DICOM files, label CSVs, masks, and what they were made from.

stage_2_train/ID_*.dcm, stage_2_train.csv
stage_2_test/ID_*.dcm, stage_2_sample_submission.csv
stage_2_test_labels.csv                       the truth, which RSNA keeps to itself
stage_2_train_masks/, stage_2_test_masks/     with masks: ID_*.png, bit k = class k
phantoms.json                                 config and counts, written last
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import CLASSES, write_long_csv
from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.headers import Identifiers, write_study
from ich_tf.phantom.study import PatientPlan, make_patient, plan_patients

MANIFEST = "phantoms.json"
# Stands in the folder while it is incomplete.
_UNFINISHED = "phantoms.json.unfinished"
_TRAIN, _TEST = "stage_2_train", "stage_2_test"
_TRAIN_LABELS = "stage_2_train.csv"
_TEST_LABELS = "stage_2_test_labels.csv"
_SAMPLE = "stage_2_sample_submission.csv"
_FOLDERS = {
    _TRAIN: re.compile(r"ID_[0-9a-f]{9}\.dcm"),
    _TEST: re.compile(r"ID_[0-9a-f]{9}\.dcm"),
    f"{_TRAIN}_masks": re.compile(r"ID_[0-9a-f]{9}\.png"),
    f"{_TEST}_masks": re.compile(r"ID_[0-9a-f]{9}\.png"),
}
_FILES = (_TRAIN_LABELS, _TEST_LABELS, _SAMPLE, MANIFEST, _UNFINISHED)
# RSNA's stage_2_train.csv repeats the rows of four images.
_REPEATED_IMAGES = 4

Track = Callable[[Iterable["_Written"], int], Iterable["_Written"]]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
      patients: Of train and test.
      studies, slices: By `train` and `test`.
      positives: By `train` and `test`, slices of each class.
      out_dir: Where.
    """

    patients: dict[str, int]
    studies: dict[str, int]
    slices: dict[str, int]
    positives: dict[str, dict[str, int]]
    out_dir: Path


@dataclasses.dataclass(frozen=True, eq=False)
class _Written:
    """One patient's images in the set: ids, labels int64 [n, 6], number of studies."""

    test: bool
    studies: int
    image_ids: list[str]
    labels: np.ndarray


def write_dataset(
    out_dir: str | Path,
    config: PhantomConfig,
    num_workers: int = 0,
    *,
    overwrite: bool = False,
    track: Track | None = None,
) -> Summary:
    """Writes a set of synthetic studies in RSNA's layout.

    The same config gives the same bytes, whatever the number of workers.

    Args:
      out_dir: A folder that is empty or not there.
      config: Of the set.
      num_workers: Processes; 0 means one per core, 1 none beside this one.
      overwrite: Remove first what an earlier call wrote into `out_dir`.
      track: Wraps the patients as they come, given their number: for progress.

    Raises:
      ConfigError: If num_workers is negative.
      InputError: If the folder holds anything else.
    """
    if num_workers < 0:
        raise ConfigError(f"num_workers is {num_workers}; it must be 0 or more.")
    out_dir = Path(out_dir)
    _clear(out_dir, overwrite)
    for folder in _FOLDERS:
        if config.masks or not folder.endswith("_masks"):
            (out_dir / folder).mkdir(parents=True, exist_ok=True)
    about = {"config": dataclasses.asdict(config)}
    (out_dir / _UNFINISHED).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    jobs = [(out_dir, config, plan) for plan in plan_patients(config)]
    done = _run(jobs, num_workers or os.cpu_count() or 1)
    written = list(track(done, len(jobs)) if track else done)
    for test in (False, True):
        _write_tables(out_dir, config.seed, [item for item in written if item.test == test], test)
    summary = _summarize(out_dir, written)
    counts = {key: value for key, value in dataclasses.asdict(summary).items() if key != "out_dir"}
    manifest = out_dir / _UNFINISHED
    manifest.write_text(json.dumps({**about, **counts}, indent=2) + "\n", encoding="utf-8")
    manifest.replace(out_dir / MANIFEST)
    return summary


def _run(jobs: list[tuple[Path, PhantomConfig, PatientPlan]], workers: int) -> Iterator[_Written]:
    workers = min(workers, len(jobs))
    if workers == 1:
        yield from map(_write_patient, jobs)
        return
    # Spawned: forking a process that runs threads, as TensorFlow's, can hang.
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_start) as pool:
        yield from pool.imap(_write_patient, jobs)


def _start() -> None:
    # A process a core is enough: threads of OpenCV's would only fight over them.
    cv2.setNumThreads(1)


def _write_patient(job: tuple[Path, PhantomConfig, PatientPlan]) -> _Written:
    out_dir, config, plan = job
    split = _TEST if plan.test else _TRAIN
    identifiers = Identifiers(config.seed, plan.index)
    patient_id = identifiers.patient()
    image_ids: list[str] = []
    labels = []
    studies = make_patient(config, plan)
    for study in studies:
        ids = write_study(out_dir / split, study, identifiers, patient_id)
        if config.masks:
            for image_id, mask in zip(ids, study.masks, strict=True):
                _, png = cv2.imencode(".png", mask)
                (out_dir / f"{split}_masks" / f"{image_id}.png").write_bytes(png.tobytes())
        image_ids += ids
        labels.append(study.labels)
    return _Written(plan.test, len(studies), image_ids, np.concatenate(labels))


def _write_tables(out_dir: Path, seed: int, written: list[_Written], test: bool) -> None:
    """Writes the CSVs of train or test; images in the order of their ids, which is random."""
    ids = [image_id for item in written for image_id in item.image_ids]
    labels = np.zeros((len(ids), len(CLASSES)), np.int64)
    if written:
        labels = np.concatenate([item.labels for item in written])
    order = sorted(range(len(ids)), key=lambda index: ids[index])
    ids, labels = [ids[index] for index in order], labels[order]
    if test:
        write_long_csv(out_dir / _TEST_LABELS, ids, labels)
        write_long_csv(out_dir / _SAMPLE, ids, np.full(labels.shape, 0.5))
        return
    rng = np.random.default_rng([seed, 1, 2])
    repeated = rng.permutation(len(ids))[:_REPEATED_IMAGES]
    rows = np.insert(np.arange(len(ids)), rng.integers(0, len(ids), repeated.size), repeated)
    write_long_csv(out_dir / _TRAIN_LABELS, [ids[row] for row in rows], labels[rows])


def _summarize(out_dir: Path, written: list[_Written]) -> Summary:
    splits = {
        "train": [item for item in written if not item.test],
        "test": [item for item in written if item.test],
    }
    positives = {}
    for name, items in splits.items():
        sums = sum((item.labels.sum(axis=0) for item in items), np.zeros(len(CLASSES), np.int64))
        positives[name] = {label: int(count) for label, count in zip(CLASSES, sums, strict=True)}
    return Summary(
        patients={name: len(items) for name, items in splits.items()},
        studies={name: sum(item.studies for item in items) for name, items in splits.items()},
        slices={name: sum(len(item.image_ids) for item in items) for name, items in splits.items()},
        positives=positives,
        out_dir=out_dir,
    )


def _clear(out_dir: Path, overwrite: bool) -> None:
    """Makes sure that the folder is there and empty; removes nothing but phantoms."""
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir}: is a file. Give --out_dir a folder.")
    present = sorted(out_dir.iterdir()) if out_dir.exists() else []
    if not present:
        out_dir.mkdir(parents=True, exist_ok=True)
        return
    own = (out_dir / MANIFEST).is_file() or (out_dir / _UNFINISHED).is_file()
    if not own:
        # RSNA's own files have the same names: without the manifest nothing is touched.
        raise InputError(
            f"{out_dir}: not empty, and not made by this tool ({MANIFEST} is missing). Give "
            "--out_dir an empty or new folder."
        )
    if not overwrite:
        raise InputError(
            f"{out_dir}: holds phantoms already. Give another --out_dir, or --overwrite to make "
            "them anew."
        )
    files, folders = [], []
    for path in present:
        pattern = _FOLDERS.get(path.name)
        if pattern is not None and path.is_dir() and not path.is_symlink():
            inside = sorted(path.iterdir())
            foreign = [item for item in inside if not pattern.fullmatch(item.name)]
            files += inside
            folders.append(path)
        else:
            foreign = [] if path.name in _FILES and path.is_file() else [path]
            files.append(path)
        if foreign:
            raise InputError(
                f"{foreign[0]}: not made by this tool, so nothing was removed. Move it away, or "
                "give another --out_dir."
            )
    # The manifest goes last, so that an interrupted removal can be taken up again.
    for path in sorted(files, key=lambda item: item.name in (MANIFEST, _UNFINISHED)):
        path.unlink()
    for path in folders:
        path.rmdir()
