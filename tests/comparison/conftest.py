"""Predictions of two made-up models for the same patients."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.runtime.files import write_json


@pytest.fixture
def rows() -> list[dict]:
    """Slices of 40 patients, two series of three each, with probabilities of a model."""
    return make_rows(0)


def make_rows(model: int) -> list[dict]:
    """Predictions of a model; with another number labels and patients stay the same."""
    truth, noise = np.random.default_rng(7), np.random.default_rng(model)
    severity = np.repeat(truth.normal(-1.5, 1.5, (40, 6)), 6, axis=0)
    labels = (truth.uniform(size=severity.shape) < sigmoid(severity)).astype(int)
    labels[:, ANY] = labels[:, :ANY].max(axis=1)
    prob = sigmoid(severity + noise.normal(0, 1, severity.shape))
    prob[:, ANY] = prob[:, :ANY].max(axis=1)
    return [
        {
            "source_id": f"ID_{i}",
            "patient_key": f"P{i // 6:02}",
            "series_key": f"S{i // 3}",
            **{f"label_{name}": int(labels[i, k]) for k, name in enumerate(CLASSES)},
            **{name: float(prob[i, k]) for k, name in enumerate(CLASSES)},
        }
        for i in range(len(labels))
    ]


def write_rows(path: Path, rows: list[dict]) -> str:
    """Writes a CSV and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def write_evaluation(folder: Path, rows: list[dict], threshold: float = 0.5) -> str:
    """Writes what evaluate leaves in a work dir, and returns the work dir."""
    at = {name: {"points": {"youden": {"threshold": threshold}}} for name in CLASSES}
    out = folder / "evaluation/test"
    write_rows(out / "predictions.csv", rows)
    model = {"postprocessing": "Platt", "seen": "not seen"}
    levels = {"slice": {"classes": at}, "series_max": {"classes": at}}
    write_json(out / "metrics.json", {"model": model, "levels": levels})
    return str(folder)
