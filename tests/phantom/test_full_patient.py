"""Patients of the full realism, from the plan to files."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.labels import CLASSES, SUBTYPES, read_labels
from ich_tf.phantom import PhantomConfig, write_dataset
from ich_tf.phantom.full import patient
from ich_tf.phantom.full.anatomy import draw_head
from ich_tf.phantom.study import PatientPlan

SUBDURAL = SUBTYPES.index("subdural")


@pytest.mark.slow
def test_a_patient_has_a_head_with_the_bleed_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patient, "draw_head", functools.partial(draw_head, step_mm=5.0))
    config = PhantomConfig(
        seed=4, matrix=64, followup_fraction=0.0, min_volume_ml=60.0, max_volume_ml=80.0
    )
    (study,) = patient.make_patient(config, PatientPlan(2, False, SUBDURAL))
    assert study.hu.dtype == np.int16 and study.masks.dtype == np.uint8
    assert study.hu.shape == study.masks.shape == (len(study.geometry.positions_mm), 64, 64)
    # Air, brain and bone.
    assert study.hu.min() < -900 and study.hu.max() > 900
    assert ((study.hu > 15) & (study.hu < 50)).mean() > 0.05
    assert study.labels[:, [SUBDURAL, CLASSES.index("any")]].any(axis=0).all()
    assert study.truth is not None and study.geometry.acquisition is not None
    first = study.truth.bleeds[0]
    assert first.subtype == "subdural" and 54.0 < first.ml < 88.0
    # What the masks show is what was asked for.
    voxel_ml = study.geometry.spacing_mm**2 / 1e3 * study.geometry.acquisition.thickness_mm
    inside = ((study.masks >> SUBDURAL) & 1).sum(axis=(1, 2)) @ voxel_ml
    total = sum(bleed.ml for bleed in study.truth.bleeds if bleed.subtype == "subdural")
    assert inside == pytest.approx(total, rel=0.35)


@pytest.mark.slow
def test_full_sets_are_the_same_by_any_number_of_workers(tmp_path: Path) -> None:
    config = PhantomConfig(
        num_patients=2,
        matrix=64,
        seed=6,
        realism="full",
        bleed_fraction=1.0,
        headers="archive",
        followup_fraction=1.0,
    )
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), config, workers)
    files = {
        workers: {
            path.relative_to(tmp_path / workers): path.read_bytes()
            for path in (tmp_path / workers).rglob("*")
            if path.is_file()
        }
        for workers in ("1", "2")
    }
    assert files["1"] == files["2"]
    folder = tmp_path / "1"
    assert json.loads((folder / "phantoms.json").read_text("utf-8"))["config"]["realism"] == "full"
    with open(folder / "bleeds.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {row["subtype"] for row in rows}
    labels = [
        read_labels(folder / name) for name in ("stage_2_train.csv", "stage_2_test_labels.csv")
    ]
    shown = {name for name in SUBTYPES if any(table[name].any() for table in labels)}
    assert shown and shown <= found
    assert all(float(row["volume_ml"]) > 0 for row in rows)
    ages = {row["StudyInstanceUID"]: float(row["age_days"]) for row in rows}
    assert len(ages) > len({row["PatientID"] for row in rows})
    assert len(set(ages.values())) == len(ages)
