"""Training curves: a picture of losses and learning rate by epoch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from ich_tf.runtime.files import write_bytes

matplotlib.use("Agg")  # no screen needed


_DPI = 110


def training_curves(
    path: str | Path,
    train_losses: Sequence[float],
    val_losses: Sequence[float],
    constant_loss: float,
    learning_rates: Sequence[float],
) -> None:
    """Draws losses and learning rate by epoch into a PNG.

    Args:
      path: The file to write.
      train_losses: Mean loss of each epoch's batches.
      val_losses: Loss on the validation fold after each epoch.
      constant_loss: Validation loss of a predictor of the constant training prior, for scale.
      learning_rates: Learning rate at each epoch's end.
    """
    epochs = np.arange(1, len(train_losses) + 1)
    figure, (losses, rates) = plt.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    losses.plot(epochs, train_losses, marker="o", label="training folds")
    losses.plot(epochs, val_losses, marker="o", label="validation fold")
    losses.axhline(constant_loss, color="grey", linestyle="--", label="constant predictor")
    best = int(np.argmin(val_losses))
    losses.plot(epochs[best], val_losses[best], "*", markersize=16, color="black", label="kept")
    losses.set_ylabel("weighted log loss")
    losses.set_ylim(bottom=0, top=1.15 * max(constant_loss, *val_losses[1:], train_losses[0]))
    losses.grid(alpha=0.3)
    losses.legend()
    rates.step(epochs, learning_rates, where="mid", color="tab:green")
    rates.set_ylim(bottom=0)
    rates.set_ylabel("learning rate")
    rates.set_xlabel("epoch")
    rates.set_xticks(epochs)
    rates.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, dpi=_DPI)
    plt.close(figure)
    # Never through a link that lies under this name.
    write_bytes(Path(path), [image.getvalue()])
