"""An exported model predicts what the original predicts, without this package."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.dicom.reader import read_slice
from ich_tf.errors import InputError
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.ensemble import Member, write_ensemble
from ich_tf.inference.export import (
    MASK_TOLERANCE,
    TOLERANCE,
    answers_of,
    expected_answers,
    export,
)
from ich_tf.inference.postprocessing.fitting import fit_postprocessing
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.serving_model import ServingModel
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.metrics import sigmoid
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.strategies import make_strategy
from tests.inference.test_mask_prediction import masks_of, predicted
from tests.support.commands import Command
from tests.support.made_up import made_up, make_run
from tests.support.marks import slow


def heads(number: int, rows: int, columns: int) -> np.ndarray:
    """Returns slices of noise within a bright ring, in air, float32 [number, rows, columns]."""
    rng = np.random.default_rng(rows)
    hu = rng.integers(-50, 120, (number, rows, columns)).astype(np.float32)
    y, x = np.indices((rows, columns))
    distance = np.hypot((y - rows / 2) / rows, (x - columns / 2) / columns)
    hu[:, distance > 0.4] = -1000
    hu[:, (distance > 0.36) & (distance < 0.4)] = 1200
    return hu


def calibrated(work_dir: Path, method: str, smoothing_mm: float, flip: bool) -> None:
    predictor = load_predictor(work_dir, make_strategy("one"), calibrated=False)
    postprocessing = fit_postprocessing(
        [made_up()], model_sha256=predictor.sha256, method=method, smoothing_mm=smoothing_mm,
        flip=flip,
    )  # fmt: skip
    if predictor.members[0].spec.segmentation:
        postprocessing = dataclasses.replace(postprocessing, mask_thresholds=middles(predictor))
    postprocessing.save(work_dir)


def middles(predictor: Predictor) -> tuple[float, ...]:
    """Thresholds in the middle of what a network gives for pixels of a head, and at none of it."""
    hu, z_mm = heads(2, 64, 64), np.arange(2, dtype=np.float32)
    maps = expected_answers(predictor, hu, z_mm, 0.0)["mask_probabilities"]
    values = [np.unique(maps[..., k].astype(float).round(4)) for k in range(6)]
    return tuple(float(each[len(each) // 2]) + 5e-5 for each in values)


def assert_same(answers: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert answers.keys() == expected.keys()
    for name, values in expected.items():
        assert answers[name].shape == values.shape, name
        if name == "masks":
            assert np.mean(answers[name] != values) < MASK_TOLERANCE
            # Each class is marked somewhere and not everywhere.
            bits = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :6]
            assert ((bits.mean(axis=0) > 0.02) & (bits.mean(axis=0) < 0.98))[:5].all()
        elif name == "mask_probabilities":
            assert np.abs(answers[name] - values).mean() < TOLERANCE
        else:
            assert values.std() > 1e-3
            np.testing.assert_allclose(answers[name], values, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("size", "spec", "method", "smoothing_mm", "flip", "prevalence"),
    [
        slow(64, {}, "none", 0.0, False, 0.0),
        slow(56, {}, "platt", 0.0, True, 0.05),
        (64, {"stored_hu": True}, "isotonic", 4.0, False, 0.0),
        slow(64, {"segmentation": True}, "none", 0.0, True, 0.0),
        slow(
            48,
            {"neighbours": 3, "negatives_kept": 0.5, "segmentation": True},
            "temperature", 6.0, True, 0.3,
        ),
    ],
)  # fmt: skip
def test_it_predicts_as_the_original(
    size: int, spec: dict, method: str, smoothing_mm: float, flip: bool, prevalence: float,
    tmp_path: Path,
) -> None:  # fmt: skip
    work_dir = make_run(tmp_path / "run", size, 1, **spec)
    calibrated(work_dir, method, smoothing_mm, flip)
    folder = export(ExportConfig(work_dir=str(work_dir), prevalence=prevalence))
    predictor = load_predictor(work_dir, make_strategy("one"))
    series = bool(smoothing_mm) or "neighbours" in spec
    # Shrunk by whole and by broken factors, grown, and not square.
    for rows, columns in ((128, 128), (200, 200), (40, 40), (120, 90)):
        hu = heads(5, rows, columns)
        z_mm = np.array([10, 0, 5, 15, 40], np.float32)
        answers = answers_of(folder, hu, z_mm if series else None)
        assert answers["probabilities"].shape == (5, 6)
        assert_same(answers, expected_answers(predictor, hu, z_mm, prevalence))


def test_several_models_are_one(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, 64, seed) for seed, name in enumerate("ab")]
    together = tmp_path / "together"
    write_ensemble(together, [Member(runs[0], share=0.7), Member(runs[1], share=0.3)])
    folder = export(ExportConfig(work_dir=str(together)))
    predictor = load_predictor(together, make_strategy("one"))
    assert len(predictor.members) == 2
    hu = heads(3, 100, 100)
    expected = expected_answers(predictor, hu, np.arange(3, dtype=np.float32), 0.0)["probabilities"]
    np.testing.assert_allclose(answers_of(folder, hu)["probabilities"], expected, atol=TOLERANCE)


def test_it_needs_nothing_of_this_package_and_its_files_are_hashed(tmp_path: Path) -> None:
    work_dir = make_run(tmp_path / "run", 64, 3)
    out_dir = tmp_path / "served"
    folder = export(ExportConfig(work_dir=str(work_dir), out_dir=str(out_dir), version=7))
    assert folder == out_dir / "7"
    manifest = json.loads((out_dir / "manifest.json").read_text())
    assert manifest["inputs"].keys() == {"hu"} and manifest["classes"][-1] == "any"
    files = {path.relative_to(out_dir).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert manifest["sha256"].keys() == files and "7/saved_model.pb" in files
    for name, sha256 in manifest["sha256"].items():
        assert file_sha256(out_dir / name) == sha256
    hu = heads(2, 64, 64)
    np.save(tmp_path / "hu.npy", hu)
    code = (
        "import sys, numpy as np, tensorflow as tf;"
        f"m = tf.saved_model.load({str(folder)!r});"
        f"p = m.signatures['serving_default'](hu=tf.constant(np.load('hu.npy')));"
        "np.save('p.npy', p['probabilities']);"
        "sys.exit(any(n.startswith('ich_tf') for n in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    predictor = load_predictor(work_dir, make_strategy("one"))
    expected = expected_answers(predictor, hu, np.arange(2, dtype=np.float32), 0.0)["probabilities"]
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), expected, atol=TOLERANCE)


@pytest.mark.slow
def test_a_version_is_not_written_over(run_command: Command, tmp_path: Path) -> None:
    work_dir = make_run(tmp_path / "run[1]", 64, 4)
    done = run_command("ich_tf.export", f"--work_dir={work_dir}")
    folder = work_dir / "export" / "1"
    assert done.stdout.strip() == str(folder)
    with pytest.raises(InputError, match="--overwrite"):
        export(ExportConfig(work_dir=str(work_dir)))
    export(ExportConfig(work_dir=str(work_dir), overwrite=True))
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["1"]


def test_the_records_of_a_conversion_get_the_same(
    phantom_dir: Path, data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    """Hounsfield units of DICOM files give the probabilities of their records."""
    manifest = Manifest.load(data_dir)
    predictor = load_predictor(work_dir, make_strategy("one"), calibrated=False)
    predictions = predictor.predict_split(manifest, "test", 16)
    folder = export(ExportConfig(work_dir=str(work_dir), out_dir=str(tmp_path), calibrated=False))
    names = predictions.source_id[:8]
    files = [phantom_dir / "stage_2_train" / f"{name}.dcm" for name in names]
    hu = np.stack([read_slice(file.read_bytes()).hu for file in files])
    probabilities = answers_of(folder, hu)["probabilities"]
    np.testing.assert_allclose(probabilities, sigmoid(predictions.logits[:8]), atol=TOLERANCE)


@pytest.mark.slow
def test_masks_of_a_prediction_are_the_same(phantom_dir: Path, tmp_path: Path) -> None:
    """Hounsfield units of DICOM files give the masks that `predict` writes for the files."""
    work_dir = make_run(tmp_path / "run", 64, 1, segmentation=True)
    calibrated(work_dir, "platt", 0.0, True)
    masks = masks_of(predicted(phantom_dir, work_dir, tmp_path / "out", None, masks="png"))
    folder = export(ExportConfig(work_dir=str(work_dir)))
    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert manifest["signatures"]["masks"] == ["probabilities", "masks", "mask_probabilities"]
    files = [phantom_dir / "stage_2_test" / f"{name}.dcm" for name in masks]
    hu = np.stack([read_slice(file.read_bytes()).hu for file in files])
    expected = np.stack(list(masks.values()))
    assert 0.05 < np.mean(expected > 0) < 1
    assert np.mean(answers_of(folder, hu)["masks"] != expected) < MASK_TOLERANCE


def test_original_and_copy_are_compared_without_tf32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enabled = []

    def compare(*_: object) -> None:
        enabled.append(tf.config.experimental.tensor_float_32_execution_enabled())

    monkeypatch.setattr("ich_tf.inference.export._compare", compare)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        export(ExportConfig(work_dir=str(make_run(tmp_path / "run", 64, 6))))
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    assert enabled == [False]


def test_an_export_that_differs_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_dir = make_run(tmp_path / "run", 64, 5)
    monkeypatch.setattr(
        "ich_tf.inference.export.expected_answers",
        lambda *_: {"probabilities": np.full((4, 6), 2.0)},
    )
    with pytest.raises(
        InputError, match="exported as saved_model differs from the one in the work dir"
    ):
        export(ExportConfig(work_dir=str(work_dir)))
    assert not any((work_dir / "export").iterdir())


def test_a_predictor_may_be_served_as_it_is(tmp_path: Path) -> None:
    predictor = load_predictor(make_run(tmp_path, 64, 6), make_strategy("one"))
    raised = dataclasses.replace(predictor.postprocessing, smoothing_mm=5.0)
    assert not ServingModel(predictor).needs_series
    assert ServingModel(Predictor(predictor.members, raised)).needs_series
