"""The folder of a set: DICOM files, label CSVs, masks, and the config they were made from.

stage_2_train/ID_*.dcm, stage_2_train.csv
stage_2_test/ID_*.dcm, stage_2_sample_submission.csv
stage_2_test_labels.csv                       the truth, which RSNA keeps to itself
stage_2_train_masks/, stage_2_test_masks/     with masks: ID_*.png, bit k = class k
bleeds.csv                                    with full realism: volume, density, age, shift
phantoms.json                                 config and counts, written last
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import CLASSES, write_long_csv
from ich_tf.phantom.basic import patient as basic
from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.full import patient as full
from ich_tf.phantom.headers import Identifiers, write_study
from ich_tf.phantom.study import PatientPlan, plan_patients
from ich_tf.phantom.truth import TRUTH_COLUMNS
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.writing import writing

MANIFEST = "phantoms.json"
# Marks the folder as incomplete; the manifest replaces it at the end.
_UNFINISHED = "phantoms.json.unfinished"
_TRAIN, _TEST = "stage_2_train", "stage_2_test"
_TRAIN_LABELS = "stage_2_train.csv"
_TEST_LABELS = "stage_2_test_labels.csv"
_SAMPLE = "stage_2_sample_submission.csv"
_BLEEDS = "bleeds.csv"
_FOLDERS = {
    _TRAIN: re.compile(r"ID_[0-9a-f]{9}\.dcm"),
    _TEST: re.compile(r"ID_[0-9a-f]{9}\.dcm"),
    f"{_TRAIN}_masks": re.compile(r"ID_[0-9a-f]{9}\.png"),
    f"{_TEST}_masks": re.compile(r"ID_[0-9a-f]{9}\.png"),
}
_FILES = (_TRAIN_LABELS, _TEST_LABELS, _SAMPLE, _BLEEDS, MANIFEST, _UNFINISHED)
# RSNA's stage_2_train.csv repeats the rows of four images.
_REPEATED_IMAGES = 4

Track = Callable[[Iterable["_WrittenPatient"], int], Iterable["_WrittenPatient"]]


@dataclasses.dataclass(frozen=True)
class PhantomSummary:
    """Counts of a set that was written, each by `train` and `test`.

    Attributes:
      patients: Number of patients.
      studies: Number of studies.
      slices: Number of slices.
      positives: Number of slices of each class.
      out_dir: Folder of the set.
    """

    patients: dict[str, int]
    studies: dict[str, int]
    slices: dict[str, int]
    positives: dict[str, dict[str, int]]
    out_dir: Path


@dataclasses.dataclass(frozen=True, eq=False)
class _WrittenPatient:
    """One patient's part of the set.

    Attributes:
      test: Whether the patient belongs to the test set.
      studies: Number of studies.
      image_ids: Image ids of all slices, n of them.
      labels: Classes of each slice, int64 [n, 6], 0 or 1.
      bleeds: Rows of bleeds.csv.
    """

    test: bool
    studies: int
    image_ids: list[str]
    labels: np.ndarray
    bleeds: list[tuple[object, ...]]


def write_dataset(
    out_dir: str | Path,
    config: PhantomConfig,
    num_workers: int = 0,
    *,
    overwrite: bool = False,
    track: Track | None = None,
) -> PhantomSummary:
    """Writes a set of synthetic studies in RSNA's layout.

    The same config leads to the same bytes, whatever the number of workers.

    Args:
      out_dir: Folder that is empty or does not exist.
      config: Config of the set.
      num_workers: Number of processes; 0 for one per core, 1 for the calling process alone.
      overwrite: Whether to remove the files of an earlier call from `out_dir` first.
      track: Function that wraps the iterable of patients, given their number, to show progress.

    Raises:
      ConfigError: If num_workers is negative.
      InputError: If the folder holds any other file.
    """
    if num_workers < 0:
        raise ConfigError(f"num_workers is {num_workers}; it must be 0 or more.")
    out_dir = Path(out_dir)
    with writing(out_dir):
        _clear(out_dir, overwrite)
        return _write(out_dir, config, num_workers or os.cpu_count() or 1, track)


def _write(
    out_dir: Path, config: PhantomConfig, workers: int, track: Track | None
) -> PhantomSummary:
    for folder in _FOLDERS:
        if config.masks or not folder.endswith("_masks"):
            (out_dir / folder).mkdir(parents=True, exist_ok=True)
    options = dataclasses.asdict(config)
    if config.realism == "basic":
        # Sets of before there was another keep their bytes.
        del options["realism"]
    content = {"config": options}
    (out_dir / _UNFINISHED).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    jobs = [(out_dir, config, plan) for plan in plan_patients(config)]
    patients = _run(jobs, workers)
    written = list(track(patients, len(jobs)) if track else patients)
    for test in (False, True):
        members = [patient for patient in written if patient.test == test]
        _write_tables(out_dir, config.seed, members, test)
    if config.realism == "full":
        _write_bleeds(out_dir / _BLEEDS, written)
    summary = _summarize(out_dir, written)
    counts = {key: value for key, value in dataclasses.asdict(summary).items() if key != "out_dir"}
    manifest = out_dir / _UNFINISHED
    manifest.write_text(json.dumps({**content, **counts}, indent=2) + "\n", encoding="utf-8")
    manifest.replace(out_dir / MANIFEST)
    return summary


def _run(
    jobs: list[tuple[Path, PhantomConfig, PatientPlan]], workers: int
) -> Iterator[_WrittenPatient]:
    with LocalExecutor(min(workers, len(jobs))) as executor:
        yield from executor.map(_write_patient, jobs)


def _write_patient(job: tuple[Path, PhantomConfig, PatientPlan]) -> _WrittenPatient:
    out_dir, config, plan = job
    split = _TEST if plan.test else _TRAIN
    identifiers = Identifiers.for_patient(config.seed, plan.index)
    patient_id = identifiers.patient()
    image_ids: list[str] = []
    labels, bleeds = [], []
    make_patient = full.make_patient if config.realism == "full" else basic.make_patient
    studies = make_patient(config, plan)
    for study in studies:
        study_uid, ids = write_study(
            out_dir / split, study, identifiers, patient_id, config.headers
        )
        if study.truth is not None:
            bleeds += study.truth.rows(patient_id, study_uid)
        if config.masks:
            for image_id, mask in zip(ids, study.masks, strict=True):
                _, png = cv2.imencode(".png", mask)
                (out_dir / f"{split}_masks" / f"{image_id}.png").write_bytes(png.tobytes())
        image_ids += ids
        labels.append(study.labels)
    return _WrittenPatient(plan.test, len(studies), image_ids, np.concatenate(labels), bleeds)


def _write_tables(out_dir: Path, seed: int, written: list[_WrittenPatient], test: bool) -> None:
    """Writes the CSVs of train or test; images in the order of their ids, which is random."""
    ids = [image_id for patient in written for image_id in patient.image_ids]
    labels = np.zeros((len(ids), len(CLASSES)), np.int64)
    if written:
        labels = np.concatenate([patient.labels for patient in written])
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


def _write_bleeds(path: Path, written: list[_WrittenPatient]) -> None:
    rows = sorted(row for patient in written for row in patient.bleeds)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows(rows)


def _summarize(out_dir: Path, written: list[_WrittenPatient]) -> PhantomSummary:
    splits = {
        "train": [patient for patient in written if not patient.test],
        "test": [patient for patient in written if patient.test],
    }
    positives = {}
    for name, patients in splits.items():
        sums = sum(
            (patient.labels.sum(axis=0) for patient in patients), np.zeros(len(CLASSES), np.int64)
        )
        positives[name] = {label: int(count) for label, count in zip(CLASSES, sums, strict=True)}
    return PhantomSummary(
        patients={name: len(patients) for name, patients in splits.items()},
        studies={
            name: sum(patient.studies for patient in patients) for name, patients in splits.items()
        },
        slices={
            name: sum(len(patient.image_ids) for patient in patients)
            for name, patients in splits.items()
        },
        positives=positives,
        out_dir=out_dir,
    )


def _clear(out_dir: Path, overwrite: bool) -> None:
    """Creates the folder, or empties it with `overwrite`; removes no file but those of a set."""
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir}: is a file. Give --out_dir a folder.")
    present = sorted(out_dir.iterdir()) if out_dir.exists() else []
    if not present:
        out_dir.mkdir(parents=True, exist_ok=True)
        return
    if not ((out_dir / MANIFEST).is_file() or (out_dir / _UNFINISHED).is_file()):
        # The files of RSNA's set have the same names: without the manifest nothing is touched.
        raise InputError(
            f"{out_dir}: not empty, and not made by this tool ({MANIFEST} is missing). Give "
            "--out_dir an empty or new folder."
        )
    if not overwrite:
        raise InputError(
            f"{out_dir}: holds phantoms already. Give another --out_dir, or --overwrite to replace "
            "them."
        )
    files, folders = _files_of_set(present)
    # The manifest goes last, so that an interrupted removal can be continued.
    for path in sorted(files, key=lambda path: path.name in (MANIFEST, _UNFINISHED)):
        path.unlink()
    for path in folders:
        path.rmdir()


def _files_of_set(present: list[Path]) -> tuple[list[Path], list[Path]]:
    """All files and folders of a set; raises an error at the first that is not part of one."""
    files, folders = [], []
    for path in present:
        pattern = _FOLDERS.get(path.name)
        if pattern is not None and path.is_dir() and not path.is_symlink():
            content = sorted(path.iterdir())
            foreign = [file for file in content if not pattern.fullmatch(file.name)]
            files += content
            folders.append(path)
        else:
            foreign = [] if path.name in _FILES and path.is_file() else [path]
            files.append(path)
        if foreign:
            raise InputError(
                f"{foreign[0]}: not made by this tool, so nothing was removed. Move it away, or "
                "give another --out_dir."
            )
    return files, folders
