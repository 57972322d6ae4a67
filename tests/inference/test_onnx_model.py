"""An ONNX file predicts under ONNX Runtime what the original predicts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError, UsageError
from ich_tf.inference import onnx_model
from ich_tf.inference.config import ExportConfig
from ich_tf.inference.export import FORMATS, ONNX, TOLERANCE, answers_of, expected_answers, export
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.inference.serving_model import ServingModel
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.strategies import make_strategy
from tests.inference.test_export import assert_same, calibrated, heads
from tests.support.made_up import make_run

try:
    onnx_model.check_packages()
    MISSING = ""
except UsageError as error:
    MISSING = str(error)
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@needs_onnx
@pytest.mark.parametrize(
    ("size", "spec", "method", "smoothing_mm", "flip", "prevalence"),
    [
        (64, {}, "none", 0.0, False, 0.0),
        (56, {}, "platt", 0.0, True, 0.05),
        (64, {"stored_hu": True}, "isotonic", 4.0, False, 0.0),
        (
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
    folder = export(ExportConfig(work_dir=str(work_dir), prevalence=prevalence, format="onnx"))
    predictor = load_predictor(work_dir, make_strategy("one"))
    series = bool(smoothing_mm) or "neighbours" in spec
    # One slice and several, shrunk by whole and by broken factors, grown, and not square.
    for number, rows, columns in ((5, 96, 96), (1, 200, 200), (3, 40, 40), (5, 120, 90)):
        hu, z_mm = heads(number, rows, columns), np.array([10, 0, 5, 15, 40], np.float32)[:number]
        answers = FORMATS["onnx"].answers(folder, hu, z_mm if series else None)
        assert_same(answers, expected_answers(predictor, hu, z_mm, prevalence))


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bigru", "transformer"])
def test_a_series_model_predicts_as_the_original(
    kind: str, features_dir: Path, run_command, tmp_path: Path
) -> None:
    run_command(
        "ich_tf.train", "--flagfile=configs/series.flags", f"--data_dir={features_dir}",
        f"--work_dir={tmp_path / 'run'}", f"--backbone={kind}", "--units=8", "--layers=1",
        "--batch_size=4", "--epochs=2", "--learning_rate=1e-2",
    )  # fmt: skip
    folder = export(ExportConfig(work_dir=str(tmp_path / "run"), format="onnx"))
    predictor = load_predictor(tmp_path / "run", make_strategy("one"))
    for number in (1, 6):
        hu, z_mm = heads(number, 96, 96), np.array([10, 0, 5, 15, 40, 20], np.float32)[:number]
        answers = FORMATS["onnx"].answers(folder, hu, z_mm)
        expected = expected_answers(predictor, hu, z_mm, 0.0)
        assert answers.keys() == expected.keys() == {"probabilities", "series"}
        for name, values in expected.items():
            np.testing.assert_allclose(answers[name], values, atol=TOLERANCE)


@needs_onnx
def test_both_formats_lie_in_one_folder_and_onnx_needs_no_tensorflow(tmp_path: Path) -> None:
    work_dir = make_run(tmp_path / "run", 48, 3)
    folder = export(ExportConfig(work_dir=str(work_dir), format="both"))
    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert manifest["formats"] == ["saved_model", "onnx"]
    assert manifest["sha256"][f"1/{ONNX}"] == file_sha256(folder / ONNX)
    assert {"onnx", "onnxruntime", "tensorflow", "tf2onnx"} <= manifest["versions"].keys()
    hu = heads(2, 64, 64)
    np.save(tmp_path / "hu.npy", hu)
    code = (
        "import sys, numpy as np, onnxruntime;"
        f"s = onnxruntime.InferenceSession({str(folder / ONNX)!r});"
        "np.save('p.npy', s.run(['probabilities'], {'hu': np.load('hu.npy')})[0]);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    saved = answers_of(folder, hu)["probabilities"]
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), saved, atol=2 * TOLERANCE)


@needs_onnx
@pytest.mark.parametrize("fails", ["operation", "comparison"])
def test_what_cannot_be_written_or_differs_leaves_no_file(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = make_run(tmp_path / "run", 48, 4, neighbours=3)
    calibrated(work_dir, "none", 4.0, False)
    if fails == "operation":
        monkeypatch.setattr(onnx_model, "_HANDLERS", {})
        message = r"cannot be written as ONNX \(no operation for Log1p\).*--format=saved_model"
    else:
        monkeypatch.setattr(
            "ich_tf.inference.export.expected_answers",
            lambda *_: {"probabilities": np.full((4, 6), 2.0)},
        )
        message = "exported as onnx differs from the one in the work dir"
    with pytest.raises(InputError, match=message):
        export(ExportConfig(work_dir=str(work_dir), format="onnx"))
    assert not any((work_dir / "export").iterdir())


@needs_onnx
def test_weights_that_no_onnx_file_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_predictor(make_run(tmp_path, 32, 5), make_strategy("one"))
    monkeypatch.setattr(onnx_model, "_MOST_BYTES", 1000)
    with pytest.raises(InputError, match="an ONNX file holds 2 GiB at most"):
        onnx_model.write_onnx(ServingModel(predictor), tmp_path / "model.onnx")


def test_without_its_packages_it_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'ich-tf\[onnx\]'"):
        export(ExportConfig(work_dir=str(tmp_path / "nothing"), format="onnx"))
