"""How good a trained model is on one split: every record once, the exact metric."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_tf.checkpoints import load_best
from ich_tf.config import EvaluateConfig
from ich_tf.errors import InputError
from ich_tf.figures import Example
from ich_tf.inference import SlicePredictions, make_logits_fn, predict_records
from ich_tf.input_pipeline import eval_batches
from ich_tf.labels import CLASSES
from ich_tf.metrics import per_class_log_loss, weighted_log_loss
from ich_tf.shards import (
    Manifest,
    damage_named,
    num_records,
    read_json,
    write_json,
    write_text,
)
from ich_tf.strategies import make_strategy
from ich_tf.windows import apply_windows, preset_windows

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The scores of one split. A class whose labels are all alike still has a log loss.

    Attributes:
      split: Its name.
      num_slices, num_patients: In it.
      loss: Weighted multi-label log loss.
      class_losses: Class -> log loss.
      constant_loss: Of a predictor that says the model's training prior for every slice.
      constant_class_losses: Class -> log loss of that predictor.
      positives: Class -> slices that show it.
    """

    split: str
    num_slices: int
    num_patients: int
    loss: float
    class_losses: dict[str, float]
    constant_loss: float
    constant_class_losses: dict[str, float]
    positives: dict[str, int]

    def report(self) -> str:
        """A table for a person."""
        lines = [
            f"{self.split}: {self.num_slices} slices of {self.num_patients} patients",
            f"{'':<18}{'positive':>9}{'log loss':>10}{'constant':>10}",
        ]
        lines += [
            f"{name:<18}{self.positives[name]:>9}{self.class_losses[name]:>10.4f}"
            f"{self.constant_class_losses[name]:>10.4f}"
            for name in CLASSES
        ]
        lines += [
            f"{'weighted':<18}{'':>9}{self.loss:>10.4f}{self.constant_loss:>10.4f}",
            f"weighted log loss {self.loss:.4f}, {self.loss / self.constant_loss:.2f} of the "
            "constant predictor's",
        ]
        return "\n".join(lines)


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Scores the best model of a work dir; writes metrics.json and predictions.csv.

    Raises:
      InputError: If data and model do not match, or either cannot be read.
    """
    manifest = Manifest.load(config.data_dir)
    shards = manifest.split_shards(config.split)
    strategy = make_strategy("mirrored")
    with strategy.scope():
        model, spec = load_best(config.work_dir)
    trained_on = (spec.record_shape, spec.windows, spec.crop, spec.stored_hu)
    stored_hu = manifest.encoding == "hu16"
    if trained_on != (manifest.image_shape, manifest.windows, manifest.crop, stored_hu):
        raise InputError(
            f"{config.data_dir}: holds images {manifest.image_shape} of windows "
            f"{','.join(manifest.windows)}, crop {manifest.crop}; the model in {config.work_dir} "
            f"was trained on {spec.record_shape} of {','.join(spec.windows)}, crop {spec.crop}. "
            "Convert the data alike."
        )
    batches = eval_batches(
        shards,
        manifest.image_shape,
        batch_size=config.batch_size,
        encoding=manifest.encoding,
        neighbours=spec.neighbours,
    )
    logits_fn = make_logits_fn(model, strategy)
    with damage_named(shards):
        predictions = predict_records(logits_fn, batches, num_records(shards))
    evaluation = score(config.split, predictions, np.asarray(spec.prior))
    out_dir = config.results_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "predictions.csv", predictions_table(predictions).to_csv(index=False))
    write_json(out_dir / "metrics.json", vars(evaluation))
    _LOG.info("results in %s", out_dir)
    return evaluation


def score(split: str, predictions: SlicePredictions, prior: np.ndarray) -> Evaluation:
    """The scores of a split's predictions.

    Args:
      split: Its name.
      predictions: Of all its records.
      prior: The training data's share of positives a class, float [6].
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    constant = np.broadcast_to(prior, labels.shape)
    return Evaluation(
        split=split,
        num_slices=len(predictions),
        num_patients=len(set(predictions.patient_key)),
        loss=weighted_log_loss(labels, probabilities),
        class_losses=_by_class(per_class_log_loss(labels, probabilities)),
        constant_loss=weighted_log_loss(labels, constant),
        constant_class_losses=_by_class(per_class_log_loss(labels, constant)),
        positives={name: int(n) for name, n in zip(CLASSES, labels.sum(axis=0), strict=True)},
    )


def predictions_table(predictions: SlicePredictions) -> pd.DataFrame:
    """One row a slice: ids, labels (`label_any`, ...) and probabilities (`any`, ...)."""
    columns: dict[str, Any] = {
        "source_id": predictions.source_id,
        "patient_key": predictions.patient_key,
        "series_key": predictions.series_key,
        "slice_index": predictions.slice_index,
    }
    for i, name in enumerate(CLASSES):
        columns[f"label_{name}"] = predictions.labels[:, i].astype(np.int64)
    for i, name in enumerate(CLASSES):
        columns[name] = predictions.probabilities[:, i]
    return pd.DataFrame(columns)


def _by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def load_evaluation(path: str | Path) -> Evaluation:
    """Reads metrics.json.

    Raises:
      InputError: If it is missing or not an evaluation.
    """
    try:
        return Evaluation(**read_json(Path(path)))
    except TypeError as error:
        raise InputError(f"{path}: not an evaluation ({error}). Run ich_tf.evaluate.") from error


def pick_examples(
    data_dir: str | Path, split: str, predictions_csv: str | Path, count: int
) -> list[Example]:
    """Slices of a split for a contact sheet: half with a bleed, spread over the series.

    Args:
      data_dir: The folder of shards.
      split: Which was evaluated.
      predictions_csv: What `evaluate` wrote for it.
      count: How many, if there are so many.
    """
    manifest = Manifest.load(data_dir)
    table = pd.read_csv(predictions_csv).set_index("source_id")
    positive = table["label_any"] == 1
    chosen: list[str] = []
    for group in (table[positive], table[~positive]):
        # Evenly over the file, whose order is by series: many patients and levels.
        places = np.linspace(0, len(group) - 1, min(count // 2, len(group))).astype(int)
        chosen += group.index[places].tolist()
    wanted = set(chosen)
    images: dict[str, np.ndarray] = {}
    batches = eval_batches(
        manifest.split_shards(split),
        manifest.image_shape,
        batch_size=64,
        encoding=manifest.encoding,
    )
    for batch in batches:
        for image, source_id in zip(batch["image"], batch["source_id"].numpy(), strict=True):
            if source_id.decode() in wanted:
                found = image.numpy()[..., 0]
                if manifest.encoding == "hu16":
                    found = apply_windows(found, preset_windows(manifest.windows[:1]))[..., 0]
                images[source_id.decode()] = found
    labels = table[[f"label_{name}" for name in CLASSES]].to_numpy()
    probabilities = table[list(CLASSES)].to_numpy(np.float64)
    rows = table.index.get_indexer(pd.Index(chosen))
    return [
        Example(images[one], labels[row], probabilities[row])
        for one, row in zip(chosen, rows, strict=True)
    ]
