"""What sums a conversion up: manifest, quarantine, report, and the mark that it is finished.

All of it follows from the plan and the shards' sidecars, so that it can be checked and restored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.conversion.plan import Plan
from ich_tf.conversion.report import report_html
from ich_tf.conversion.tfds import TFDS_FILES, tfds_files
from ich_tf.dicom import series
from ich_tf.labels import CLASSES
from ich_tf.records import data_files, manifest, shards
from ich_tf.records.schema import SCHEMA_VERSION
from ich_tf.records.splits import UNLABELLED
from ich_tf.runtime import files
from ich_tf.windows import stored_to_hu


@dataclass(frozen=True)
class ConversionResult:
    """What a conversion did.

    Attributes:
      out_dir: The folder of shards.
      num_records: In all shards.
      num_shards, num_kept: Shards in all, and those that an earlier run had finished.
      label_counts: Positive records by class; empty for records without labels.
      rejections: Reason code -> inputs left out.
      num_inputs: Files found, and labels without a file.
    """

    out_dir: Path
    num_records: int
    num_shards: int
    num_kept: int
    label_counts: dict[str, int]
    rejections: dict[str, int]
    num_inputs: int

    def report(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.out_dir}: {self.num_records} records in {self.num_shards} shards"
            + (f" ({self.num_kept} kept from before)" if self.num_kept else "")
            + ("" if self.label_counts else ", unlabelled")
        ]
        for name, count in self.label_counts.items():
            lines.append(f"  {name:<17}{count:>8}  {count / max(1, self.num_records):6.1%}")
        for reason, count in self.rejections.items():
            lines.append(f"  left out: {reason:<17}{count:>8}")
        return "\n".join(lines)


def finish(out_dir: Path, plan: Plan, root: Path, num_kept: int = 0) -> ConversionResult:
    """Writes the plan and what sums up the shards that stand, `_SUCCESS` last.

    Args:
      out_dir: The folder of shards.
      plan: What they were made by.
      root: Where the DICOM files are.
      num_kept: Shards that an earlier run had finished.

    Raises:
      DataError: If a shard is not there.
    """
    sidecars = [shards.read_sidecar(out_dir / one.name) for one in plan.shards]
    files.write_parts(out_dir / data_files.PLAN, plan.json_lines(root))
    manifest, quarantine = _manifest(plan, sidecars), _quarantine(plan, sidecars)
    summaries = summary_files(plan, sidecars)
    for name in TFDS_FILES:
        if name not in summaries:
            (out_dir / name).unlink(missing_ok=True)
    for name, text in summaries.items():
        files.write_text(out_dir / name, text)
    report = report_html(out_dir, plan, sidecars, manifest, quarantine)
    files.write_text(out_dir / data_files.REPORT, report)
    files.write_text(out_dir / data_files.SUCCESS, success_text(out_dir, sidecars, summaries))
    return ConversionResult(
        out_dir=out_dir,
        num_records=manifest["num_records"],
        num_shards=len(sidecars),
        num_kept=num_kept,
        label_counts=manifest["label_counts"] if manifest["num_folds"] else {},
        rejections=dict(Counter(manifest["quarantine"]).most_common()),
        num_inputs=plan.num_inputs,
    )


def summary_files(plan: Plan, sidecars: Sequence[shards.Sidecar]) -> dict[str, str]:
    """Name -> text of the files that follow from plan and sidecars."""
    quarantine, manifest = _quarantine(plan, sidecars), _manifest(plan, sidecars)
    return {
        data_files.QUARANTINE: "".join(
            json.dumps(one, sort_keys=True) + "\n" for one in quarantine
        ),
        data_files.MANIFEST: files.json_text(manifest),
        **tfds_files(manifest),
    }


def success_text(
    out_dir: Path, sidecars: Sequence[shards.Sidecar], summaries: Iterable[str]
) -> str:
    """The text of `_SUCCESS`: the SHA-256 of every file, as `sha256sum` writes them.

    The shards' own are taken from their sidecars: nothing large is read.

    Args:
      out_dir: The folder of shards.
      sidecars: Of its shards.
      summaries: Names of `summary_files`.
    """
    hashes = {
        name: files.file_sha256(out_dir / name)
        for name in (data_files.PLAN, *summaries, data_files.REPORT)
    }
    for sidecar in sidecars:
        path = out_dir / sidecar.name
        hashes[sidecar.name] = sidecar.sha256
        for beside in (data_files.index_path(path), data_files.sidecar_path(path)):
            hashes[beside.name] = files.file_sha256(beside)
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def _quarantine(plan: Plan, sidecars: Sequence[shards.Sidecar]) -> list[dict[str, str]]:
    lines = [asdict(one) for one in plan.rejections]
    return lines + [line for one in sidecars for line in one.quarantine]


def _manifest(plan: Plan, sidecars: Sequence[shards.Sidecar]) -> dict[str, Any]:
    totals = manifest.label_counts([one.shard(Path()) for one in sidecars])
    num_series = gaps = duplicates = 0
    for shard in plan.shards:
        for members in shard.series:
            positions = [one.z_mm for one in members.slices()]
            num_series += 1
            gaps += series.count_gaps(positions)
            duplicates += series.count_duplicates(positions)
    return {
        "schema_version": SCHEMA_VERSION,
        "config": plan.config,
        "plan_sha256": plan.sha256,
        "versions": _joined([one.versions for one in sidecars]),
        "classes": list(CLASSES),
        "num_records": sum(one.num_records for one in sidecars),
        "num_folds": 0 if UNLABELLED in plan.patients else plan.config["num_folds"],
        "label_counts": dict(zip(CLASSES, totals.tolist(), strict=True)),
        "patients": plan.patients,
        "hu": _hounsfield(sidecars),
        "num_series": num_series,
        "series_gaps": gaps,
        "duplicate_positions": duplicates,
        "spacings": _summed([one.spacings for one in sidecars]),
        "scanners": _summed([one.scanners for one in sidecars]),
        "transfer_syntaxes": _summed([one.transfer_syntaxes for one in sidecars]),
        "decoders": _summed([one.decoders for one in sidecars]),
        "repairs": _summed([one.repairs for one in sidecars]),
        "num_tilted": sum(one.num_tilted for one in sidecars),
        "quarantine": dict(
            sorted(Counter(line["reason"] for line in _quarantine(plan, sidecars)).items())
        ),
        "shards": [
            {
                "name": one.name,
                "split": one.split,
                "num_records": one.num_records,
                "num_bytes": one.num_bytes,
                "sha256": one.sha256,
                "label_counts": one.label_counts,
            }
            for one in sidecars
        ],
    }


def _hounsfield(sidecars: Sequence[shards.Sidecar]) -> dict[str, Any]:
    pixels = sum(one.num_pixels for one in sidecars)
    total = sum(one.stored_sum for one in sidecars)
    return {
        "mean": stored_to_hu(total / pixels) if pixels else None,
        "min": min((one.hu_min for one in sidecars if one.hu_min is not None), default=None),
        "max": max((one.hu_max for one in sidecars if one.hu_max is not None), default=None),
        "histogram": np.sum([one.hu_histogram for one in sidecars], axis=0).tolist(),
    }


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _joined(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Every version that wrote a shard: one, unless a conversion outlived an upgrade."""
    found: dict[str, set[str]] = {}
    for one in versions:
        for name, version in one.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}
