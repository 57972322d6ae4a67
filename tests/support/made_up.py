"""Predictions and models that no training made, for tests of what comes after it."""

import dataclasses
from pathlib import Path

import numpy as np

from ich_tf.inference.exams import exams_of
from ich_tf.inference.forward import SlicePredictions
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.models.saved import save_best
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras

WINDOWS = ("brain", "subdural", "soft")


def made_up(seed: int = 0, patients: int = 30) -> SlicePredictions:
    """Patients of two series with six slices each, some ill, and a model that notices."""
    rng = np.random.default_rng(seed)
    slices = 12
    number = patients * slices
    severity = np.repeat(rng.normal(-1, 1.5, (patients, 6)), slices, axis=0)
    labels = (rng.uniform(size=severity.shape) < sigmoid(severity)).astype(np.float32)
    labels[:, ANY] = labels[:, :ANY].max(axis=1)
    logits = severity + rng.normal(0, 1, severity.shape)
    logits[:, ANY] = logits[:, :ANY].max(axis=1)
    series = [f"S{i // 6}" for i in range(number)]
    exam_labels, label_level = exams_of(labels, series)
    return SlicePredictions(
        source_id=[f"ID_{i}" for i in range(number)],
        patient_key=[f"P{i // slices}" for i in range(number)],
        series_key=series,
        scanner=["GE" if i // slices % 2 else "Siemens" for i in range(number)],
        slice_index=np.tile(np.arange(6), number // 6),
        z_mm=np.tile(np.arange(6) * 5.0, number // 6).astype(np.float32),
        spacing_mm=np.full((number, 2), 0.5, np.float32),
        gantry_tilt_deg=np.repeat(rng.choice([0.0, 15.0], number // 6), 6).astype(np.float32),
        labels=labels,
        exam_labels=exam_labels,
        label_level=label_level,
        logits=logits.astype(np.float32),
    )


def make_run(folder: Path, size: int, seed: int, **spec) -> Path:
    """A work dir with a network that answers more than a constant."""
    keras.utils.set_random_seed(seed)
    channels = 1 if spec.get("stored_hu") else 3
    built = ModelSpec(
        "tiny", (size, size, channels), 32, WINDOWS, prior=(0.1, 0.2, 0.1, 0.2, 0.2, 0.4), **spec
    )
    model = built.build(bias=np.asarray(built.prior))
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.random.default_rng(seed).normal(size=kernel.shape).astype(np.float32) * 3)
    if built.segmentation:
        # Marks some of every picture; at its start a decoder marks nothing.
        pixels = model.get_layer("decoder").get_layer("mask_logits")
        rng = np.random.default_rng(seed)
        kernel = rng.normal(size=pixels.kernel.shape).astype(np.float32) * 20
        pixels.set_weights([kernel - kernel.mean(axis=2, keepdims=True), np.zeros(6, np.float32)])
        noise = rng.integers(0, 256, (2, *model.input_shape[1:])).astype(model.input.dtype.name)
        pixels.bias.assign(-np.median(model(noise)[1], axis=(0, 1, 2)))
    save_best(folder, model, built, epoch=1, val_loss=0.3)
    return folder


def make_calibration(work_dir: Path, threshold: float) -> None:
    """Gives a run operating points, the same for all classes, and leaves its probabilities."""
    from ich_tf.inference.postprocessing.aggregation import LEVELS
    from ich_tf.inference.postprocessing.postprocessing import POINTS, Postprocessing
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.runtime.strategies import make_strategy

    predictor = load_predictor(str(work_dir), make_strategy("mirrored"))
    points = {rule: dict.fromkeys(CLASSES, threshold) for rule in POINTS}
    Postprocessing(
        model_sha256=predictor.sha256,
        thresholds=dict.fromkeys(LEVELS, points),
        fitted_on={"splits": ["made up"]},
    ).save(work_dir)


def of_exams(predictions: SlicePredictions, labelled: float = 0.0) -> SlicePredictions:
    """The same predictions with labels of exams; a share of the patients keeps those of slices.

    Every third patient is healthy. Of the exams that are labelled as such `epidural` is unknown,
    and in every fifth one of four readers disagrees about `any`.
    """
    labels, exams = predictions.labels.copy(), predictions.exam_labels.copy()
    patients = list(dict.fromkeys(predictions.patient_key))
    healthy = np.isin(predictions.patient_key, patients[::3])
    labels[healthy], exams[healthy] = 0, 0
    kept = set(patients[: round(labelled * len(patients))])
    known = np.array([patient in kept for patient in predictions.patient_key])
    labels[~known] = np.nan
    exams[~known, 0] = np.nan
    soft = ~known & (np.arange(len(exams)) // 6 % 5 == 0)
    exams[soft, ANY] = np.where(exams[soft, ANY] == 1, 0.75, 0.25)
    levels = ["slice" if own else "study" for own in known]
    return dataclasses.replace(predictions, labels=labels, exam_labels=exams, label_level=levels)
