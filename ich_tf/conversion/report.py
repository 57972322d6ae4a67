"""report.html: pictures, label counts, geometry and rejected inputs of a conversion."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.uid import UID

from ich_tf.conversion.equal_pixels import EqualPixels
from ich_tf.conversion.exam_summary import exam_columns, exam_statistics, levels_text
from ich_tf.conversion.lookup import RecordLocation, record_locations, written_slices
from ich_tf.conversion.mask_summary import mask_rows
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice, SeriesKind, one_per_input
from ich_tf.dicom.description import number_text
from ich_tf.dicom.reasons import Code, Reason, Rejection, Repair
from ich_tf.labels import CLASSES
from ich_tf.masks.errors import MaskReason
from ich_tf.records.images import read_image
from ich_tf.records.known_labels import known_labels
from ich_tf.records.sidecar import Sidecar
from ich_tf.runtime import html
from ich_tf.windows import apply_windows, preset_windows

_PICTURES, _PICTURE_PIXELS = 8, 112
_NONE = "none of them"
# Slices without labels of their own, or with some that are unknown.
_EXAMS = "unknown: labels of the exam, or of some classes"
_EXAMPLES = 5
_BINS = 24
# Labels of `manifest["hu"]["histogram"]`, of 32 HU per bin from -1024 HU on, by bin.
_HU_MARKS = {(hu + 1024) / 32: str(hu) for hu in range(-1000, 3000, 500)}


def report_html(
    folder: Path,
    plan: Plan,
    sidecars: Sequence[Sidecar],
    manifest: Mapping[str, Any],
    quarantine: Sequence[Rejection],
    mask_quarantine: Sequence[Rejection] = (),
) -> str:
    """Renders the report.

    It follows from the arguments and the shards, and contains no date and no path.

    Args:
      folder: Folder of the shards, of which some forty records are read.
      plan: Plan of the conversion.
      sidecars: Sidecars of all shards, in the plan's order.
      manifest: Content of manifest.json.
      quarantine: Inputs that were left out.
      mask_quarantine: Masks that are not used.

    Raises:
      DataError: If a shard is damaged.
    """
    config = plan.config
    quarantine = one_per_input(quarantine)
    names = {uid: f"{UID(uid).name} ({uid})" for uid in manifest["transfer_syntaxes"]}
    content = {
        **{name: config[name] for name in ("image_size", "encoding", "windows", "crop", "seed")},
        "num_records": manifest["num_records"],
        "num_inputs": plan.num_inputs,
        "headline": _headline(plan, manifest, sum(manifest["quarantine"].values())),
        "thumbnails": list(_thumbnails(folder, plan, sidecars)),
        "classes": list(CLASSES),
        "splits": _splits(plan, manifest, sidecars),
        "hu": _hounsfield(manifest["hu"]),
        **_geometry(plan),
        "spacings": html.count_rows(manifest["spacings"]),
        "oddities": {
            "gaps within series": manifest["series_gaps"],
            "slices at the position of another": manifest["duplicate_positions"],
            "slices with a tilted gantry": manifest["num_tilted"],
        },
        "equal_pixels": EqualPixels(**manifest["equal_pixels"]).report(),
        "scanners": html.count_rows(manifest["scanners"]),
        "transfer_syntaxes": html.count_rows(
            {names[uid]: count for uid, count in manifest["transfer_syntaxes"].items()}
        ),
        "decoders": html.count_rows(manifest["decoders"]),
        "repairs": html.count_rows(
            manifest["repairs"], {repair.value: repair.meaning for repair in Repair}
        ),
        "series": _series(plan.kinds),
        "choice": config.get("series", "all"),
        "quarantine": _by_reason(
            [line for line in quarantine if not Reason(line.reason).is_choice], Reason
        ),
        "to_retry": manifest["to_retry"],
        "exams": manifest.get("exams"),
        "exam_levels": levels_text(manifest["exams"]["levels"]) if plan.has_exams else "",
        "masks": mask_rows(manifest["masks"]) if plan.has_masks else [],
        "unused_masks": _by_reason(mask_quarantine, MaskReason),
        "versions": sorted(manifest["versions"].items()),
        "shards": manifest["shards"],
    }
    return html.render("ich_tf.conversion", "conversion.html", content)


def _headline(plan: Plan, manifest: Mapping[str, Any], left_out: int) -> list[tuple[str, str]]:
    """Names and values of the figures at the top."""
    size = sum(shard["num_bytes"] for shard in manifest["shards"])
    exams = [("exams with labels", f"{_num_labelled(manifest):,}")] if plan.has_exams else []
    return [
        ("slices", f"{manifest['num_records']:,}"),
        *exams,
        ("series", f"{manifest['num_series']:,}"),
        ("patients", f"{sum(map(len, plan.patients.values())):,}"),
        ("shards", f"{len(plan.shards):,}"),
        ("size", f"{size / 2**20:,.1f} MiB"),
        ("inputs left out", f"{left_out:,} of {plan.num_inputs:,}"),
    ]


def _num_labelled(manifest: Mapping[str, Any]) -> int:
    """Number of exams of which a label is known."""
    exams = manifest["exams"]
    return int(exams["num_exams"] - exams["levels"][""])


def _thumbnails(folder: Path, plan: Plan, sidecars: Sequence[Sidecar]) -> Iterator[dict[str, Any]]:
    """A row of pictures per class; a single row for data without labels."""
    windows = tuple(plan.config["windows"])
    # Slices by class and patient, of a few patients at a time: a plan may hold 752,803 slices.
    rows: dict[str, dict[str, list[tuple[PlannedShard, PlannedSlice]]]] = {}
    if plan.is_labelled:
        rows = {name: {} for name in (*CLASSES, _NONE)}
    for shard, sidecar in zip(plan.shards, sidecars, strict=True):
        for planned in written_slices(shard, sidecar):
            for name in _classes(planned):
                patients = rows.setdefault(name, {})
                patients.setdefault(planned.patient_key, []).append((shard, planned))
        for patients in rows.values():
            # The order of a hash chooses neither the first patients nor others tomorrow.
            for patient in sorted(patients, key=_mixed)[_PICTURES:]:
                del patients[patient]
    locations = functools.cache(functools.partial(record_locations, folder))
    for name, patients in rows.items():
        pictures = []
        for patient in sorted(patients, key=_mixed):
            shard, planned = patients[patient][len(patients[patient]) // 2]
            location = next(match for match in locations(shard) if match.planned == planned)
            pictures.append(_picture(location, windows))
        yield {"name": name, "pictures": pictures}


def _classes(planned: PlannedSlice) -> list[str]:
    """Rows of pictures that a slice may be in."""
    if planned.labels is None:
        return [_EXAMS if planned.exam_labels else "unlabelled"]
    names = [name for name, label in zip(CLASSES, planned.labels, strict=True) if label]
    return names or [_NONE if None not in planned.labels else _EXAMS]


def _mixed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _picture(location: RecordLocation, windows: tuple[str, ...]) -> dict[str, str]:
    """PNG, id and alternative text of a slice in its first window."""
    record = location.read()
    image = read_image(record)
    if record.format == "hu16":
        image = apply_windows(image[..., 0], preset_windows(windows[:1]))
    grey = np.ascontiguousarray(image[..., 0])
    if grey.shape[0] > _PICTURE_PIXELS:
        side = _PICTURE_PIXELS, _PICTURE_PIXELS
        grey = np.asarray(cv2.resize(grey, side, interpolation=cv2.INTER_AREA))
    labels = [name for name, label in zip(CLASSES, record.labels, strict=True) if label]
    text = ", ".join(labels) or ("no hemorrhage" if record.label_present else "unlabelled")
    if not labels and np.isnan(known_labels(record)).any() and record.exam_labels:
        text = "labels unknown"
    return {
        "data": html.png_base64(grey),
        "id": record.source_id,
        "text": f"Slice {record.source_id}: {text}",
    }


def _splits(
    plan: Plan, manifest: Mapping[str, Any], sidecars: Sequence[Sidecar]
) -> list[dict[str, Any]]:
    """Numbers of patients and records, and label counts, of each split; and of its exams."""
    rows = []
    for split, patients in plan.patients.items():
        shards = [shard for shard in manifest["shards"] if shard["split"] == split]
        records = sum(shard["num_records"] for shard in shards)
        counts = np.sum([shard["label_counts"] for shard in shards], axis=0).tolist()
        row = {
            "name": split,
            "patients": len(patients),
            "records": records,
            "counts": counts,
            "shares": [round(100 * count / max(1, records), 1) for count in counts],
        }
        if plan.has_exams:
            total = exam_statistics(one for one in sidecars if one.split == split)
            row |= exam_columns(total, counts)
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["name"]))


def _hounsfield(hu: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, minimum, maximum and histogram of the stored Hounsfield units."""
    counts = hu["histogram"]
    names = [f"{32 * i - 1024} to {32 * i - 992} HU" for i in range(len(counts))]
    chart = html.column_chart(counts, names, _HU_MARKS, width=760, log=True)
    units = {name: hu[name] for name in ("mean", "min", "max")}
    texts = {name: "-" if value is None else f"{value:.0f}" for name, value in units.items()}
    return {**texts, "chart": chart}


def _geometry(plan: Plan) -> dict[str, Any]:
    """Histograms of the series' lengths and slice distances."""
    lengths, distances = [], []
    for shard in plan.shards:
        for series in shard.series:
            lengths.append(float(series.num_slices))
            if series.num_slices > 1:
                steps = np.diff([planned.z_mm for planned in series.slices()])
                distances.append(float(np.median(steps)))
    return {
        "lengths": _histogram(lengths, whole=True),
        "distances": _histogram(distances, whole=False),
    }


def _histogram(values: Sequence[float], *, whole: bool) -> dict[str, Any]:
    """Column chart with at most `_BINS` bins of a round width, from zero on."""
    highest = max([*values, 1.0])
    least = 1.0 if whole else 0.25
    width = least * 2 ** max(0, int(np.ceil(np.log2(highest / least / _BINS))))
    # Bins are shifted by half, so that whole values lie in the middle of a bin.
    places = [int(value / width + 0.5) for value in values]
    counts = np.bincount(np.asarray(places, np.int64), minlength=1).tolist()
    names = [f"{i * width:g}" for i in range(len(counts))]
    every = max(1, round(len(counts) / 8))
    marks = {i + 0.5: names[i] for i in range(0, len(counts), every)}
    return html.column_chart(counts, names, marks)


def _series(kinds: Sequence[SeriesKind]) -> list[dict[str, Any]]:
    """Rows of the table of series, with the share of each kind in all slices, percent."""
    total = max(1, sum(kind.num_slices for kind in kinds))
    return [
        {
            **asdict(kind),
            "thickness": number_text(kind.thickness_mm),
            "share": round(100 * kind.num_slices / total, 1),
        }
        for kind in kinds
    ]


def _by_reason(lines: Sequence[Rejection], reasons: type[Code]) -> list[dict[str, Any]]:
    """Meaning, number and examples of each reason, the most frequent first."""
    counts = Counter(line.reason for line in lines)
    return [
        {
            "reason": reason,
            "meaning": reasons(reason).meaning,
            "count": count,
            "examples": [line for line in lines if line.reason == reason][:_EXAMPLES],
        }
        for reason, count in counts.most_common()
    ]
