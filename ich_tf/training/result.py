"""The result of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ich_tf.training.history import EpochResult


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Result of a run.

    Attributes:
      work_dir: Folder with the files that `training.work_dir` describes.
      best_epoch: Epoch of the saved weights, counted from 1.
      best_val_loss: Weighted log loss of the saved weights on the validation fold.
      history: One entry for each epoch.
    """

    work_dir: Path
    best_epoch: int
    best_val_loss: float
    history: tuple[EpochResult, ...]
