"""Head crops: the box, its way through conversion, and the same cut in prediction."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.verification import verify
from ich_tf.dicom.crop import cut, head_box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.errors import InputError
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import CLASSES, read_submission
from ich_tf.models.saved import save_best
from ich_tf.models.spec import ModelSpec
from ich_tf.records import tfrecord
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.manifest import Manifest
from ich_tf.records.schema import SliceRecord
from ich_tf.windows import apply_windows, preset_windows, store_hu
from tests.support.conversions import config_for, files_of


def head(center: tuple[int, int], radii: tuple[int, int], matrix: int = 256) -> np.ndarray:
    """Air, an ellipse of brain in bone, and a headrest: an arc of 4 pixels below it."""
    hu = np.full((matrix, matrix), -1000, np.float32)
    cv2.ellipse(hu, center, (radii[0] + 30, radii[1] + 20), 0, 10, 170, 300, 4)
    cv2.ellipse(hu, center, radii, 0, 0, 360, 1000, -1)
    cv2.ellipse(hu, center, (radii[0] - 5, radii[1] - 5), 0, 0, 360, 30, -1)
    return hu


def test_the_box_holds_the_head_with_its_margin_and_no_headrest() -> None:
    top, left, rows, columns = head_box(head((120, 130), (60, 80)), (1.0, 1.0))
    # 130 - 80 = 50 less 6 mm, on a grid of 2 mm; the ellipse is 161 pixels high, 121 wide.
    assert abs(top - 44) <= 2
    assert abs(left - 54) <= 2
    assert abs(rows - 173) <= 4
    assert abs(columns - 133) <= 4


def test_spacing_is_in_millimetres_along_each_axis() -> None:
    hu = head((120, 130), (60, 80))
    stretched = np.repeat(hu, 2, axis=0)
    box, stretched_box = head_box(hu, (1.0, 1.0)), head_box(stretched, (0.5, 1.0))
    np.testing.assert_allclose(stretched_box, (2 * box[0], box[1], 2 * box[2], box[3]), atol=4)


@pytest.mark.parametrize("spacing", [(1e-3, 1e-3), (1.0, 1.0), (1000.0, 1000.0)])
def test_what_shows_no_head_has_no_box(spacing: tuple[float, float]) -> None:
    assert head_box(np.full((64, 80), -1000, np.float32), spacing) == ()


def test_a_head_that_fills_the_image_is_cut_at_its_border() -> None:
    assert head_box(np.full((100, 120), 30, np.float32), (1.0, 1.0)) == (0, 0, 100, 120)


def test_a_series_shares_the_box_around_all() -> None:
    header = Header("a", "p", "s", "u", 64, 64, (0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1))
    other = replace(header, series_id="v")
    larger = replace(header, rows=128)
    boxes = series_boxes(
        [
            (header, (10, 20, 30, 5)),
            (other, ()),
            (header, ()),
            (larger, (0, 0, 99, 9)),
            (header, (5, 22, 10, 20)),
        ]
    )
    assert boxes == [(5, 20, 35, 22), (), (5, 20, 35, 22), (0, 0, 99, 9), (5, 20, 35, 22)]


def test_cut_refuses_an_image_of_another_size() -> None:
    hu = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert cut(hu, ()) is hu
    np.testing.assert_array_equal(cut(hu, (1, 2, 2, 2)), [[6, 7], [10, 11]])
    with pytest.raises(DicomError) as caught:
        cut(hu, (1, 2, 2, 3))
    assert caught.value.reason == Reason.BAD_GEOMETRY


@pytest.fixture(scope="module")
def cropped(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crop") / "one"
    convert(config_for(phantom_dir, folder, crop="head"))
    return folder


def records_of(folder: Path) -> list[SliceRecord]:
    return [
        decode(payload)
        for path in sorted(folder.glob("*.tfrecord"))
        for payload in tfrecord.read_records(path)
    ]


def test_records_hold_what_their_crop_says(phantom_dir: Path, cropped: Path) -> None:
    """Every slice of a series has one box; its pixels are those of the box, resized."""
    plan, _ = load_plan(cropped)
    names = {planned.source_id: planned.name for shard in plan.shards for planned in shard.slices()}
    boxes: dict[str, set] = {}
    windows = preset_windows(plan.config["windows"])
    smaller = 0
    for record in records_of(cropped):
        boxes.setdefault(record.series_key, set()).add(record.crop)
        slice_ = read_slice((phantom_dir / "stage_2_train" / names[record.source_id]).read_bytes())
        expected = apply_windows(store_hu(cut(slice_.hu, record.crop), 32), windows)
        np.testing.assert_array_equal(read_image(record), expected)
        top, left, rows, columns = head_box(slice_.hu, slice_.header.spacing_mm) or (32, 32, 0, 0)
        assert record.crop[0] <= top
        assert record.crop[1] <= left
        assert record.crop[0] + record.crop[2] >= top + rows
        assert record.crop[1] + record.crop[3] >= left + columns
        smaller += record.crop[2] * record.crop[3] < 0.9 * slice_.hu.size
    assert {len(members) for members in boxes.values()} == {1}
    assert smaller > 0
    assert verify(cropped, full=True) == []


def test_two_workers_give_the_same_bytes(phantom_dir: Path, cropped: Path, tmp_path: Path) -> None:
    convert(config_for(phantom_dir, tmp_path / "two", crop="head", num_workers=2))
    assert files_of(tmp_path / "two") == files_of(cropped)


def test_prediction_sees_what_evaluation_sees(
    phantom_dir: Path, cropped: Path, data_dir: Path, tmp_path: Path
) -> None:
    """The same model, records on one side and DICOM files on the other."""
    manifest = Manifest.load(cropped)
    spec = ModelSpec("tiny", manifest.image_shape, 32, manifest.windows, crop=manifest.crop)
    work_dir = tmp_path / "w"
    save_best(work_dir, spec.build(weights="none"), spec, epoch=1, val_loss=1.0)
    evaluate(
        EvaluateConfig(data_dir=str(cropped), work_dir=str(work_dir), out_dir=str(tmp_path / "e"))
    )
    by_records = pd.read_csv(tmp_path / "e" / "predictions.csv", index_col=0)
    # Away from the phantoms' sample submission, which names other images.
    source = shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom")
    predict(
        PredictConfig(
            dicom_dir=str(source),
            work_dir=str(work_dir),
            out_csv=str(tmp_path / "s.csv"),
            num_workers=1,
        )
    )
    by_files = read_submission(tmp_path / "s.csv").loc[by_records.index]
    columns = list(CLASSES)
    np.testing.assert_allclose(by_files[columns], by_records[columns], atol=1e-6)
    whole = replace(spec, crop="none")
    save_best(work_dir, whole.build(weights="none"), whole, epoch=1, val_loss=1.0)
    with pytest.raises(InputError, match="crop head; the model .* crop none"):
        evaluate(EvaluateConfig(data_dir=str(cropped), work_dir=str(work_dir)))


def test_a_real_head(real_dicom: Path) -> None:
    """What lies outside a series' box is air, and the headrest's arms: no bone, no brain."""
    files = sorted((real_dicom / "ge_head").glob("*.dcm"))
    slices = [read_slice(path.read_bytes()) for path in files]
    boxes = series_boxes(
        [(slice_.header, head_box(slice_.hu, slice_.header.spacing_mm)) for slice_ in slices]
    )
    assert len(set(boxes)) == 1
    top, left, rows, columns = boxes[0]
    assert 0.55 < rows * columns / slices[0].hu.size < 0.75
    for slice_ in slices:
        outside = slice_.hu.copy()
        outside[top : top + rows, left : left + columns] = -1000
        # The nose's tip and an ear's rim may stay outside.
        assert np.mean(outside > -200) < 0.01
