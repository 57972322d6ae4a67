"""Figures: a grid of slices, and a contact sheet of slices with their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from ich_tf.labels import ANY, CLASSES, SUBTYPES

matplotlib.use("Agg")  # works without a display

_DPI = 110
_DARK = "#101418"
_LIGHT = "#d8dee6"
_RIGHT = "#6fbf73"
_WRONG = "#e57373"
_SHORT = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}


@dataclass(frozen=True, eq=False)
class Example:
    """A slice to show.

    Attributes:
      image: Grey values of one window, uint8 [h, w].
      labels: Labels, 0 or 1, [6], in the order of `labels.CLASSES`.
      probabilities: Predicted probabilities [6].
    """

    image: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def picture_grid(
    path: str | Path, columns: Sequence[Sequence[np.ndarray]], titles: Sequence[str]
) -> None:
    """Draws images in columns with titles into a PNG file.

    Args:
      path: PNG file to write.
      columns: Images of each column from top to bottom, uint8 [h, w]; all columns have the same
        number of images.
      titles: Title of each column.
    """
    rows = len(columns[0])
    figure, axes = plt.subplots(
        rows,
        len(columns),
        figsize=(1.5 * len(columns), 1.5 * rows + 0.3),
        squeeze=False,
        facecolor=_DARK,
        layout="constrained",
    )
    for column, images, title in zip(axes.T, columns, titles, strict=True):
        column[0].set_title(title, color=_LIGHT, fontsize=8)
        for axis, image in zip(column, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
            axis.axis("off")
    figure.savefig(path, dpi=_DPI, facecolor=_DARK)
    plt.close(figure)


def contact_sheet(path: str | Path, examples: Sequence[Example], columns: int = 6) -> None:
    """Draws slices with their labels and predictions into a PNG file.

    Above each slice are its labels, below it the probabilities of `any` and of the most probable
    subtype: green where `any` at a threshold of 0.5 is right, red where it is wrong.

    Args:
      path: PNG file to write.
      examples: Slices, row by row.
      columns: Slices in a row.
    """
    rows = -(-len(examples) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.1 * columns, 2.6 * rows + 0.3), squeeze=False, facecolor=_DARK
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, example in zip(axes.flat, examples, strict=False):
        axis.imshow(example.image, cmap="gray", vmin=0, vmax=255)
        present = [_SHORT[name] for i, name in enumerate(SUBTYPES) if example.labels[i]]
        axis.set_title(" ".join(present) or "no bleed", color=_LIGHT, fontsize=9)
        most_probable = int(np.argmax(example.probabilities[:ANY]))
        is_right = bool(example.probabilities[ANY] >= 0.5) == bool(example.labels[ANY])
        axis.text(
            0.5,
            -0.03,
            f"any {example.probabilities[ANY]:.2f}   "
            f"{_SHORT[CLASSES[most_probable]]} {example.probabilities[most_probable]:.2f}",
            color=_RIGHT if is_right else _WRONG,
            fontsize=9,
            ha="center",
            va="top",
            transform=axis.transAxes,
        )
    height = figure.get_figheight()
    figure.suptitle(
        "held-out slices: label above, prediction below, green where any at 0.5 is right, "
        "red where it is wrong. Research only.",
        color=_LIGHT,
        fontsize=10,
        y=1 - 0.2 / height,
    )
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.3 / height, top=1 - 0.6 / height, wspace=0.04, hspace=0.3
    )
    figure.savefig(path, dpi=_DPI, facecolor=_DARK)
    plt.close(figure)
