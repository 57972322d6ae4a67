"""Summary of the masks of a conversion, for manifest, report and terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ich_tf.conversion.plan import Plan
from ich_tf.dicom.reasons import Rejection
from ich_tf.labels import CLASSES
from ich_tf.records.mask_statistics import MaskStatistics
from ich_tf.records.sidecar import Sidecar


def mask_quarantine(plan: Plan, sidecars: Iterable[Sidecar]) -> tuple[Rejection, ...]:
    """Masks that are not used: those that the plan rejected, then those of each shard."""
    return tuple(chain(plan.mask_rejections, *(sidecar.mask_quarantine for sidecar in sidecars)))


def mask_summary(sidecars: Sequence[Sidecar], quarantine: Sequence[Rejection]) -> dict[str, Any]:
    """Content of the manifest's `masks`: numbers by class, and numbers of unused masks by reason.

    Args:
      sidecars: Sidecars of all shards.
      quarantine: Masks that are not used.
    """
    total = MaskStatistics.total(sidecar.masks for sidecar in sidecars if sidecar.masks is not None)
    return {
        "annotated": dict(zip(CLASSES, total.annotated, strict=True)),
        "marked": dict(zip(CLASSES, total.marked, strict=True)),
        "ml": {name: volume / 1000 for name, volume in zip(CLASSES, total.volume_mm3, strict=True)},
        "quarantine": dict(sorted(Counter(line.reason for line in quarantine).items())),
    }


def mask_lines(masks: Mapping[str, Any]) -> list[str]:
    r"""Lines of a conversion's report.

    Args:
      masks: What `mask_summary` returns.

    Examples:
      >>> counts = dict.fromkeys(CLASSES, 0)
      >>> masks = {"annotated": {**counts, "any": 9}, "marked": counts, "ml": counts}
      >>> print(*mask_lines({**masks, "quarantine": {"MASK_SIZE": 2}}), sep="\n")
        masks:             annotated  marked         ml
          any                      9       0        0.0
        mask not used: MASK_SIZE               2
    """
    lines = [f"  masks:{'annotated':>22}{'marked':>8}{'ml':>11}"]
    for name, count in masks["annotated"].items():
        if count:
            lines.append(
                f"    {name:<17}{count:>9}{masks['marked'][name]:>8}{masks['ml'][name]:>11.1f}"
            )
    for reason, count in masks["quarantine"].items():
        lines.append(f"  mask not used: {reason:<17}{count:>8}")
    return lines


def mask_rows(masks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the report's table of classes."""
    names = ("annotated", "marked", "ml")
    return [{"name": label, **{name: masks[name][label] for name in names}} for label in CLASSES]
