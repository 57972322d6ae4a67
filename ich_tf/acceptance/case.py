"""One series with bleeds: its files, its masks, its labels, and what is known of the bleeds."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np

from ich_tf.acceptance.config import InsertConfig
from ich_tf.acceptance.derived_file import SourceFile
from ich_tf.acceptance.insertion import InsertedSlice, bit_mask, insert
from ich_tf.acceptance.preparation import PreparedScan, prepare
from ich_tf.acceptance.scan import ChosenSeries, Scan, read_scan
from ich_tf.dicom.reasons import DicomError
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES, SUBTYPES
from ich_tf.phantom.full.bleeds import Bleeds, draw_bleeds, draw_volume
from ich_tf.reporting.uids import derived_uid
from ich_tf.runtime.writing import writing

DICOM, MASKS = "dicom", "masks"
# Of a bleed that finds so little of its volume in the scan nothing is left to detect: drawn anew.
_LEAST_SHARE, _MOST_DRAWS = 0.3, 6


@dataclasses.dataclass(frozen=True)
class SeriesTask:
    """Work of one worker: copies of one series.

    Attributes:
      config: Config of the run.
      chosen: The series.
      number: Number of the series, from 0.
      leading: Subtype of the leading bleed of each copy, an index of `SUBTYPES`.
      patient: Study from which the made-up patient follows: the first of the patient's.
    """

    config: InsertConfig
    chosen: ChosenSeries
    number: int
    leading: tuple[int, ...]
    patient: str


@dataclasses.dataclass(frozen=True)
class SeriesResult:
    """What became of a series.

    Attributes:
      cases: What is known of each copy, as the manifest holds it.
      image_ids: Image ids of all copies' slices.
      labels: Classes of each slice, 0 or 1 in the order of `CLASSES`.
      problem: Why the series was not used; empty if it was.
    """

    cases: tuple[dict[str, object], ...] = ()
    image_ids: tuple[str, ...] = ()
    labels: tuple[tuple[int, ...], ...] = ()
    problem: str = ""


def insert_into_series(task: SeriesTask) -> SeriesResult:
    """Writes the copies of one series. Runs in a worker.

    Raises:
      InputError: If the folder cannot be written.
    """
    cv2.setNumThreads(1)
    config, chosen = task.config, task.chosen
    rng = np.random.default_rng([config.seed, task.number])
    try:
        scan = read_scan(chosen)
        prepared = prepare(scan, rng)
        files = _source_files(scan)
    except (DicomError, InputError) as error:
        return SeriesResult(problem=str(error))
    try:
        return _copies(task, scan, prepared, files)
    except DicomError as error:
        remove_copies(task)
        return SeriesResult(problem=str(error))


def remove_copies(task: SeriesTask) -> None:
    """Removes what was written of a series that is not used after all."""
    out_dir, copies = Path(task.config.out_dir), f"{_series_name(task.number)}_*"
    for folder in (out_dir / DICOM).glob(copies):
        shutil.rmtree(folder)
    for path in (out_dir / MASKS).glob(copies):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _series_name(number: int) -> str:
    return f"case{number:04}"


def _copies(
    task: SeriesTask, scan: Scan, prepared: PreparedScan, files: dict[int, SourceFile]
) -> SeriesResult:
    config, chosen = task.config, task.chosen
    cases, image_ids, labels = [], [], []
    for copy, leading in enumerate(task.leading):
        name = f"{_series_name(task.number)}_{copy:03}"
        bleeds, volume_ml = _draw(config, prepared, leading, [config.seed, task.number, copy])
        slices = {
            index: inserted
            for index in prepared.head.slices.tolist()
            if (
                inserted := insert(
                    prepared.head,
                    bleeds,
                    prepared.appearance,
                    index,
                    np.random.default_rng([config.seed, task.number, copy, index]),
                )
            )
        }
        masks = _masks(scan, slices, config.min_area_mm2)
        ids = _write(task, name, scan, files, slices, masks)
        bits = masks.reshape(len(masks), -1)
        rows = np.bitwise_or.reduce(bits, axis=1)[:, None] >> np.arange(len(CLASSES)) & 1
        image_ids += ids
        labels += [tuple(row) for row in rows.tolist()]
        cases.append(
            {
                "case": name,
                "source": f"source{task.number:04}",
                "source_digest": chosen.digest,
                "first_file": chosen.slices[0].source.shown,
                "slices": len(ids),
                "labelled_slices": int(rows[:, -1].sum()),
                "leading": SUBTYPES[leading],
                "asked_ml": round(volume_ml, 3),
                **_describe(prepared, chosen, bleeds, slices),
            }
        )
    return SeriesResult(tuple(cases), tuple(image_ids), tuple(labels))


def _draw(
    config: InsertConfig, prepared: PreparedScan, leading: int, seed: list[int]
) -> tuple[Bleeds, float]:
    """Bleeds, and the volume that was asked of the leading one.

    A scan may show no ventricle, or a part of a head: a bleed that finds less than a third of its
    volume there is drawn again.
    """
    coarse, voxel_ml = prepared.head.coarse()
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        volume_ml = draw_volume(rng, leading, config.min_volume_ml, config.max_volume_ml)
        bleeds = draw_bleeds(rng, coarse, voxel_ml, leading, volume_ml)
        if sum(bleed.ml for bleed in bleeds.truth.bleeds) >= _LEAST_SHARE * volume_ml:
            break
    return bleeds, volume_ml


def _source_files(scan: Scan) -> dict[int, SourceFile]:
    """The files of a scan, by the number of the first slice that each holds."""
    first: dict[str, int] = {}
    for index, source in enumerate(scan.sources):
        first.setdefault(source.name, index)
    return {index: SourceFile(scan.sources[index].read()) for index in first.values()}


def _masks(scan: Scan, slices: dict[int, InsertedSlice], min_area_mm2: float) -> np.ndarray:
    masks = np.zeros(scan.hu.shape, np.uint8)
    pixel_mm2 = scan.spacing_mm[0] * scan.spacing_mm[1]
    for index, inserted in slices.items():
        masks[index] = bit_mask(inserted.blood, pixel_mm2, min_area_mm2)
    return masks


def _write(
    task: SeriesTask,
    name: str,
    scan: Scan,
    files: dict[int, SourceFile],
    slices: dict[int, InsertedSlice],
    masks: np.ndarray,
) -> list[str]:
    """Writes DICOM files and masks of a copy; returns the image ids of its slices."""
    config, out_dir = task.config, Path(task.config.out_dir)
    folder = out_dir / DICOM / name
    study = derived_uid(name, config.seed, scan.headers[0].study_id, scan.headers[0].series_id)
    # One for all copies, so that a conversion keeps them in one split.
    patient = derived_uid("inserted patient", config.seed, task.patient)
    patient_id = "" if config.patient == "kept" else f"INSERTED-{patient[-12:]}"
    image_ids = [""] * len(scan.hu)
    with writing(out_dir):
        folder.mkdir(parents=True)
        (out_dir / MASKS).mkdir(exist_ok=True)
        for first, file in files.items():
            members = [
                index
                for index, source in enumerate(scan.sources)
                if source.name == scan.sources[first].name
            ]
            changes = {
                scan.headers[index].frame: slices[index].change
                for index in members
                if index in slices
            }
            content, _ = file.with_changes(changes, study, patient_id)
            stem = f"{name}_{first:03}"
            (folder / f"{stem}.dcm").write_bytes(content)
            for index in members:
                frame = scan.headers[index].frame
                image_ids[index] = f"{stem}/{frame}" if frame else stem
        for image_id, mask in zip(image_ids, masks, strict=True):
            path = out_dir / MASKS / f"{image_id}.png"
            path.parent.mkdir(exist_ok=True)
            _, png = cv2.imencode(".png", mask)
            path.write_bytes(png.tobytes())
    return image_ids


def _describe(
    prepared: PreparedScan, chosen: ChosenSeries, bleeds: Bleeds, slices: dict[int, InsertedSlice]
) -> dict[str, object]:
    """What is known of a copy's bleeds, asked for and measured."""
    head, appearance = prepared.head, prepared.appearance
    scan, truth = head.scan, bleeds.truth
    asked, measured, errors, depths, weights = [], [], [], [], []
    around: list[np.ndarray] = []
    for index, inserted in slices.items():
        core = np.isfinite(inserted.painted)
        new = np.rint(scan.hu[index] + inserted.change)
        asked.append(inserted.painted[core])
        measured.append(new[core])
        errors.append((new - inserted.painted)[core])
        blood = inserted.blood.sum(axis=0) >= 0.5
        depths.append(head.depths_of_slice(index)[blood])
        weights.append(int(blood.sum()))
        around.append(_beside(head.tissue.hu[index], blood, head.cavity[index]))
    areas = np.array(weights, float)
    used = list(slices)
    ml = float((areas * scan.lengths_mm[used]).sum() * np.prod(scan.spacing_mm) * 1e-3)
    total = areas.sum()
    brain = _mean(around)
    asked_hu, measured_hu = _mean(asked), _mean(measured)
    noise = float((areas * appearance.noise_hu[used]).sum() / total) if total else None
    all_errors = np.concatenate(errors) if errors else np.zeros(0)
    return {
        "bleeds": [dataclasses.asdict(bleed) for bleed in truth.bleeds],
        "ml": round(ml, 3),
        "asked_hu": _rounded(asked_hu),
        "measured_hu": _rounded(measured_hu),
        "beside_hu": _rounded(brain),
        "contrast_hu": _rounded(
            asked_hu - brain if asked_hu is not None and brain is not None else None
        ),
        "noise_hu": _rounded(noise),
        "noise_in_blood_hu": _rounded(float(all_errors.std())) if len(all_errors) > 50 else None,
        "is_noise_measured": appearance.is_noise_measured,
        "half_modulation_per_mm": _rounded(appearance.half_modulation, 3),
        "is_sharpness_measured": appearance.is_sharpness_measured,
        "kernel": chosen.kernel,
        "thickness_mm": _rounded(float(np.median(scan.thickness_mm))),
        "depth_mm": _rounded(_mean(depths)),
        "shift_mm": _rounded(truth.shift_mm),
        "moved_mm": _rounded(max((part.moved_mm for part in slices.values()), default=0.0)),
    }


def _beside(tissue: np.ndarray, blood: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Source tissue under a bleed and around it, which the eye compares blood with."""
    near = cv2.dilate(blood.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
    return np.asarray(tissue[near & ~blood & cavity])


def _mean(parts: list[np.ndarray]) -> float | None:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.mean()) if len(values) else None


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
