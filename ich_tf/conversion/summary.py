"""Summary of a conversion: manifest, quarantine, report, and the mark that it is finished.

All of them follow from the plan and the sidecars, so that they can be checked and restored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ich_tf.conversion.equal_pixels import EqualPixels, find_equal_pixels
from ich_tf.conversion.exam_summary import exam_lines, exam_summary
from ich_tf.conversion.mask_summary import mask_lines, mask_quarantine, mask_summary
from ich_tf.conversion.plan import Plan, one_per_input
from ich_tf.conversion.report import report_html
from ich_tf.conversion.tfds import TFDS_FILES, tfds_files
from ich_tf.dicom import series
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records import data_files
from ich_tf.records.schema import EXAM_SCHEMA_VERSION, SCHEMA_VERSION
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.records.statistics import SliceStatistics
from ich_tf.runtime import files
from ich_tf.runtime.json_types import read_object


@dataclass(frozen=True)
class ConversionResult:
    """Result of a conversion.

    Attributes:
      out_dir: Folder of the shards.
      num_records: Number of records of all shards.
      num_shards: Number of shards.
      num_kept: Number of shards that an earlier run had finished.
      label_counts: Number of positive records per class; empty for data without labels.
      rejections: Number of inputs that could not be used, by reason code.
      num_inputs: Number of files, and of labels without a file.
      num_to_retry: Number of those that were left out for a reason of the machine, which the same
        command tries again.
      equal_pixels: Images that several patients share.
      num_not_chosen: Number of slices of the series that were not chosen.
      masks: Numbers of masks (`mask_summary.mask_summary`); empty in a conversion without masks.
      exams: Numbers of exams (`exam_summary.exam_summary`); empty in a conversion whose labels are
        all of slices and known.
    """

    out_dir: Path
    num_records: int
    num_shards: int
    num_kept: int
    label_counts: dict[str, int]
    rejections: dict[str, int]
    num_inputs: int
    num_to_retry: int = 0
    equal_pixels: EqualPixels = field(default_factory=EqualPixels)
    num_not_chosen: int = 0
    masks: dict[str, Any] = field(default_factory=dict)
    exams: dict[str, Any] = field(default_factory=dict)

    def report(self) -> str:
        """Summary of the result, several lines of text."""
        lines = [
            f"{self.out_dir}: {self.num_records} records in {self.num_shards} shards"
            + (f" ({self.num_kept} kept from before)" if self.num_kept else "")
            + ("" if self.label_counts else ", unlabelled")
        ]
        if self.exams:
            lines += exam_lines(self.exams, self.label_counts)
        for name, count in self.label_counts.items() if not self.exams else ():
            lines.append(f"  {name:<17}{count:>8}  {count / max(1, self.num_records):6.1%}")
        for reason, count in self.rejections.items():
            lines.append(f"  left out: {reason:<17}{count:>8}")
        if self.num_to_retry:
            lines.append(
                f"  {self.num_to_retry} of these for a reason of the machine, not of the file: the "
                "same command tries them again"
            )
        if self.equal_pixels.images:
            lines.append(f"  {self.equal_pixels.report()}")
        if self.num_not_chosen:
            lines.append(f"  not chosen by --series: {self.num_not_chosen} slices")
        if self.masks:
            lines += mask_lines(self.masks)
        return "\n".join(lines)


def finish(out_dir: Path, plan: Plan, num_kept: int = 0) -> ConversionResult:
    """Writes all files that sum the committed shards up, `_SUCCESS` last.

    Args:
      out_dir: Folder of the shards and of plan.json.
      plan: Plan of the shards.
      num_kept: Number of shards that an earlier run had finished.

    Raises:
      DataError: If a shard is missing, or was written for another plan.
    """
    sidecars = [_planned_sidecar(out_dir, plan, shard.name) for shard in plan.shards]
    summary = summarize(plan, sidecars)
    texts = summary.files()
    for name in TFDS_FILES:
        if name not in texts:
            (out_dir / name).unlink(missing_ok=True)
    for name, text in texts.items():
        files.write_text(out_dir / name, text)
    report = report_html(
        out_dir,
        plan,
        sidecars,
        summary.manifest,
        summary.quarantine,
        summary.mask_quarantine,
    )
    files.write_text(out_dir / data_files.REPORT, report)
    files.write_text(out_dir / data_files.SUCCESS, success_text(out_dir, sidecars, texts))
    manifest = summary.manifest
    return ConversionResult(
        out_dir=out_dir,
        num_records=manifest["num_records"],
        num_shards=len(sidecars),
        num_kept=num_kept,
        label_counts=manifest["label_counts"] if manifest["num_folds"] else {},
        rejections=dict(Counter(manifest["quarantine"]).most_common()),
        num_inputs=plan.num_inputs,
        num_to_retry=manifest["to_retry"],
        equal_pixels=EqualPixels(**manifest["equal_pixels"]),
        num_not_chosen=manifest["num_not_chosen"],
        masks=manifest.get("masks", {}),
        exams=manifest.get("exams", {}),
    )


def _planned_sidecar(out_dir: Path, plan: Plan, name: str) -> Sidecar:
    """Sidecar of a shard, which must have been written for this plan."""
    sidecar = read_sidecar(out_dir / name)
    if sidecar.plan_sha256 != plan.shard_sha256[name]:
        raise DataError(
            f"{out_dir / name}: was written for another plan, by another run. Run the same command "
            "again."
        )
    return sidecar


@dataclass(frozen=True)
class ConversionSummary:
    """Summary of a conversion; it follows from the plan and the sidecars.

    Attributes:
      manifest: Content of manifest.json.
      quarantine: Inputs that were left out, as quarantine.jsonl lists them.
      mask_quarantine: Masks that are not used, which it lists after them.
    """

    manifest: dict[str, Any]
    quarantine: tuple[Rejection, ...]
    mask_quarantine: tuple[Rejection, ...] = ()

    def files(self) -> dict[str, str]:
        """Text of each file that holds the summary, by the file's name."""
        lines = (
            json.dumps(asdict(line), sort_keys=True) + "\n"
            for line in (*self.quarantine, *self.mask_quarantine)
        )
        return {
            data_files.QUARANTINE: "".join(lines),
            data_files.MANIFEST: files.json_text(self.manifest),
            **tfds_files(self.manifest),
        }


def summarize(plan: Plan, sidecars: Sequence[Sidecar]) -> ConversionSummary:
    """Sums a conversion up.

    Args:
      plan: Plan of the conversion.
      sidecars: Sidecars of all shards, in the plan's order.
    """
    quarantine = quarantined(plan, sidecars)
    manifest, masks = _manifest(plan, sidecars, quarantine), mask_quarantine(plan, sidecars)
    if plan.has_masks:
        manifest["masks"] = mask_summary(sidecars, masks)
    if plan.has_exams:
        manifest["exams"] = exam_summary(sidecars, plan.agreement)
    return ConversionSummary(manifest, quarantine, masks)


def quarantined(plan: Plan, sidecars: Iterable[Sidecar]) -> tuple[Rejection, ...]:
    """Inputs that were left out: those that the plan rejected, then those of each shard."""
    return tuple(chain(plan.rejections, *(sidecar.quarantine for sidecar in sidecars)))


def bad_reasons(quarantine: Iterable[Rejection]) -> Counter[str]:
    """Number of inputs that could not be used, by reason code: of all but those not chosen."""
    bad = (line for line in quarantine if not Reason(line.reason).is_choice)
    return Counter(line.reason for line in one_per_input(bad))


def num_not_chosen(quarantine: Iterable[Rejection]) -> int:
    """Number of slices of series that were not chosen."""
    return sum(Reason(line.reason).is_choice for line in quarantine)


@dataclass(frozen=True)
class _StoredQuarantine:
    """Number of inputs that were left out, by reason code, as manifest.json has it."""

    quarantine: dict[str, int]


def retry_remark(data_dir: str | Path) -> str:
    """Remark on inputs that a finished conversion left out for a reason of the machine, if any."""
    stored = read_object(Path(data_dir) / data_files.MANIFEST, _StoredQuarantine)
    of_machine = {reason.value for reason in Reason if reason.is_of_machine}
    counts = ", ".join(
        f"{count} {reason}" for reason, count in stored.quarantine.items() if reason in of_machine
    )
    if not counts:
        return ""
    return (
        f"left out for a reason of the machine, not of the file: {counts}; ich_tf.make_tfrecords "
        "tries them again"
    )


def success_text(out_dir: Path, sidecars: Sequence[Sidecar], summaries: Iterable[str]) -> str:
    """Text of `_SUCCESS`: SHA-256 and name of every file, as `sha256sum` prints them.

    Hashes of the shards are taken from their sidecars: no large file is read.

    Args:
      out_dir: Folder of the shards.
      sidecars: Sidecars of all shards.
      summaries: Names of `ConversionSummary.files`.
    """
    hashes = {
        name: files.file_sha256(out_dir / name)
        for name in (data_files.PLAN, *summaries, data_files.REPORT)
    }
    if (out_dir / data_files.SPLITS).is_file():
        hashes[data_files.SPLITS] = files.file_sha256(out_dir / data_files.SPLITS)
    for sidecar in sidecars:
        path = out_dir / sidecar.name
        hashes[sidecar.name] = sidecar.sha256
        for companion in (data_files.index_path(path), data_files.sidecar_path(path)):
            hashes[companion.name] = files.file_sha256(companion)
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def _manifest(
    plan: Plan, sidecars: Sequence[Sidecar], quarantine: Sequence[Rejection]
) -> dict[str, Any]:
    """Content of manifest.json."""
    totals = SliceStatistics.total(sidecar.statistics for sidecar in sidecars)
    reasons = bad_reasons(quarantine)
    return {
        "schema_version": EXAM_SCHEMA_VERSION if plan.has_exams else SCHEMA_VERSION,
        "config": plan.config,
        "plan_sha256": plan.sha256,
        "versions": _joined([sidecar.versions for sidecar in sidecars]),
        "classes": list(CLASSES),
        "num_records": sum(sidecar.num_records for sidecar in sidecars),
        "num_folds": plan.config["num_folds"] if plan.is_labelled else 0,
        "label_counts": dict(zip(CLASSES, totals.label_counts, strict=True)),
        "patients": plan.patients,
        "hu": {
            "mean": totals.hu_mean,
            "min": totals.hu_min,
            "max": totals.hu_max,
            "histogram": totals.hu_histogram.tolist(),
        },
        **_geometry(plan),
        "equal_pixels": asdict(find_equal_pixels(plan, sidecars)),
        "spacings": _sorted(totals.spacings),
        "scanners": _sorted(totals.scanners),
        "transfer_syntaxes": _sorted(totals.transfer_syntaxes),
        "decoders": _sorted(totals.decoders),
        "repairs": _sorted(totals.repairs),
        "num_tilted": totals.num_tilted,
        "quarantine": _sorted(reasons),
        "num_not_chosen": num_not_chosen(quarantine),
        "series": [asdict(kind) for kind in plan.kinds],
        "to_retry": sum(rejection.is_of_machine for rejection in quarantine),
        "shards": [
            {
                "name": sidecar.name,
                "split": sidecar.split,
                "num_records": sidecar.num_records,
                "num_bytes": sidecar.num_bytes,
                "sha256": sidecar.sha256,
                "label_counts": list(sidecar.statistics.label_counts),
            }
            for sidecar in sidecars
        ],
    }


def _geometry(plan: Plan) -> dict[str, int]:
    """Number of series, of gaps within them, and of slices at the position of another."""
    num_series = gaps = duplicates = 0
    for shard in plan.shards:
        for planned in shard.series:
            positions = [slice_.z_mm for slice_ in planned.slices()]
            num_series += 1
            gaps += series.count_gaps(positions)
            duplicates += series.count_duplicates(positions)
    return {"num_series": num_series, "series_gaps": gaps, "duplicate_positions": duplicates}


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _joined(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Versions that wrote a shard, by package: several if packages were upgraded in between."""
    versions_by_name: dict[str, set[str]] = {}
    for versions_of_shard in versions:
        for name, version in versions_of_shard.items():
            versions_by_name.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions_by_name[name])) for name in sorted(versions_by_name)}
