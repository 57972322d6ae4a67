"""How far several readers of the same exams agree, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ich_tf.labels.classes import CLASSES


@dataclass(frozen=True)
class ReaderAgreement:
    """Agreement of readers, over the exams of which at least two said something of a class.

    Attributes:
      readers: Names of the readers.
      exams: Number of such exams for each class [6].
      unanimous: Share of them in which all who said something said the same [6]; NaN for no exam.
      kappa: Fleiss' kappa [6]: 1 is full agreement, 0 that of chance; NaN where all votes are the
        same, since chance then agrees, too.
    """

    readers: tuple[str, ...]
    exams: tuple[int, ...]
    unanimous: tuple[float, ...]
    kappa: tuple[float, ...]

    def text(self) -> str:
        """A line for each class with at least one exam, below a line that names the readers."""
        plural = "" if len(self.readers) == 1 else "s"
        lines = [f"{len(self.readers)} reader{plural} ({', '.join(self.readers)}):"]
        if not any(self.exams):
            lines.append("  no exam has labels of two readers, whose agreement could be told")
        for name, exams, unanimous, kappa in zip(
            CLASSES, self.exams, self.unanimous, self.kappa, strict=True
        ):
            if exams:
                by_chance = "undefined" if np.isnan(kappa) else f"{kappa:.2f}"
                lines.append(
                    f"  {name}: all agree on {unanimous:.1%} of {exams} exams, Fleiss' kappa "
                    f"{by_chance}"
                )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same for a JSON file, by class; nothing where there is no exam or no kappa."""
        classes = {}
        for name, exams, unanimous, kappa in zip(
            CLASSES, self.exams, self.unanimous, self.kappa, strict=True
        ):
            if exams:
                classes[name] = {
                    "exams": exams,
                    "unanimous": unanimous,
                    "fleiss_kappa": None if np.isnan(kappa) else kappa,
                }
        return {"readers": list(self.readers), "classes": classes}


def reader_agreement(votes: np.ndarray, readers: tuple[str, ...]) -> ReaderAgreement:
    """Agreement of readers.

    Readers may leave exams out: each exam then counts with the pairs of its votes, and chance with
    the shares of yes and no among all of these votes, which is Fleiss' (1971) kappa where all vote.

    Args:
      votes: 0, 1 or NaN, float [n, readers, 6].
      readers: Names of the readers.

    Examples:
      >>> votes = np.zeros((2, 2, 6))
      >>> votes[0] = 1
      >>> reader_agreement(votes, ("A", "B")).kappa[0]
      1.0
    """
    yes = np.nansum(votes, axis=1)
    count = np.sum(~np.isnan(votes), axis=1)
    exams, unanimous, kappas = [], [], []
    for name in range(len(CLASSES)):
        is_read = count[:, name] >= 2
        n, k = count[is_read, name], yes[is_read, name]
        exams.append(int(is_read.sum()))
        if not exams[-1]:
            unanimous.append(float("nan"))
            kappas.append(float("nan"))
            continue
        unanimous.append(float(np.mean((k == 0) | (k == n))))
        agreed = float(np.mean((k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1))))
        share = float(k.sum() / n.sum())
        chance = share**2 + (1 - share) ** 2
        kappas.append((agreed - chance) / (1 - chance) if chance < 1 else float("nan"))
    return ReaderAgreement(readers, tuple(exams), tuple(unanimous), tuple(kappas))
