"""Masks of a prediction: on the pixels of the DICOM images, in each format, and their volumes."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
import tensorflow as tf

from ich_tf.dicom.reader import read_slices
from ich_tf.errors import InputError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.masks.image_masks import image_bits
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.prediction import predict as command
from ich_tf.inference.prediction.model_image import seen_image
from ich_tf.inference.prediction.predict import predict
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.models.saved import load_model
from tests.support.dicom_files import headers_of
from tests.support.made_up import make_run

SUBDURAL = CLASSES.index("subdural")
# Grey value of the brain window (0 to 80 HU) from which the network below marks a pixel, and the
# same in Hounsfield units.
GREY, HU = 250, 78.6


def bright(images: np.ndarray) -> np.ndarray:
    """A network that marks what is dense as subdural: skull, for the most part."""
    logits = np.full((*images.shape[:3], 6), -20, np.float32)
    logits[..., SUBDURAL] = np.where(np.asarray(images)[..., 0] >= GREY, 20, -20)
    return logits


def predicted(
    phantom_dir: Path, run: Path, out: Path, monkeypatch: pytest.MonkeyPatch | None, **changes
) -> Path:
    """Predicts a series, with `bright` as the network of pixels unless `monkeypatch` is None."""

    def with_masks(*args, **options):
        predictor = load_predictor(*args, **options)
        predictor.members = tuple(
            replace(member, mask_logits_fn=bright) for member in predictor.members
        )
        return predictor

    if monkeypatch is not None:
        monkeypatch.setattr(command, "load_predictor", with_masks)
    series = {
        path: next(headers_of([path])).series_id
        for path in sorted((phantom_dir / "stage_2_test").iterdir())
    }
    first = next(iter(series.values()))
    out.mkdir(exist_ok=True)
    paths = [str(path) for path, series_id in series.items() if series_id == first]
    (out / "list.txt").write_text("\n".join(paths))
    predict(
        PredictConfig(
            dicom_dir=str(out / "list.txt"),
            work_dir=str(run),
            out_csv=str(out / "s.csv"),
            num_workers=1,
            **changes,
        )
    )
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("masks") / "w", 64, 1)


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in (folder / "s_masks").iterdir()
    }


def dense_of(phantom_dir: Path, name: str) -> np.ndarray:
    path = phantom_dir / "stage_2_test" / f"{name}.dcm"
    (slice_,) = read_slices(path.read_bytes())
    return slice_.hu >= HU


def test_masks_lie_on_the_pixels_of_the_files(phantom_dir, run, tmp_path, monkeypatch) -> None:
    out = predicted(phantom_dir, run, tmp_path / "o", monkeypatch, masks="png")
    found = masks_of(out)
    content = json.loads((out / "s_series.json").read_text())
    (series,) = content["series"]
    assert set(found) == {slice_["image_id"] for slice_ in series["slices"]}
    for name, mask in found.items():
        # As large as the stored image, so pixel for pixel; any holds it.
        expected = dense_of(phantom_dir, name)
        np.testing.assert_array_equal(mask, expected * np.uint8(1 << SUBDURAL | 1 << 5))
    assert series["volumes"]["ml"]["subdural"] == series["volumes"]["ml"]["any"] > 10
    assert series["volumes"]["ml"]["epidural"] == 0
    kinds = ["ml", "low_ml", "high_ml", "likely_low_ml", "likely_high_ml", "abc2_ml"]
    assert list(series["volumes"]) == kinds
    (row,) = pd.read_csv(out / "s_series.csv").to_dict("records")
    assert [row[f"{name}_ml"] for name in CLASSES] == [
        series["volumes"]["ml"][name] for name in CLASSES
    ]


def test_masks_of_cropped_and_resized_images(phantom_dir, tmp_path, monkeypatch) -> None:
    run = make_run(tmp_path / "w", 96, 1, crop="head")
    out = predicted(phantom_dir, run, tmp_path / "o", monkeypatch, masks="png")
    shares = []
    for name, mask in masks_of(out).items():
        expected = dense_of(phantom_dir, name)
        if expected.sum() > 50:
            marked = mask > 0
            shares.append(2 * (marked & expected).sum() / (marked.sum() + expected.sum()))
            moved = [np.roll(marked, step, axis) for step in (-1, 1) for axis in (0, 1)]
            assert max((other & expected).sum() for other in moved) < (marked & expected).sum()
    assert len(shares) > 10 and np.median(shares) > 0.85


@pytest.mark.slow
def test_nifti_and_segmentation_hold_the_same(phantom_dir, run, tmp_path, monkeypatch) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra masks is not installed")
    pytest.importorskip("highdicom", reason="the extra masks is not installed")
    masks = masks_of(predicted(phantom_dir, run, tmp_path / "p", monkeypatch, masks="png"))
    out = predicted(phantom_dir, run, tmp_path / "n", monkeypatch, masks="nifti")
    (series,) = json.loads((out / "s_series.json").read_text())["series"]
    paths = sorted(path.name for path in (out / "s_masks").iterdir())
    assert paths == sorted(f"{series['series_id']}_{name}.nii.gz" for name in CLASSES)
    data = (out / "s_masks" / f"{series['series_id']}_subdural.nii.gz").read_bytes()
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    voxels = np.asarray(image.dataobj).sum() * np.abs(np.linalg.det(image.affine)) / 1000
    # The ends of a scan differ, where its planes stand for half a distance.
    assert voxels == pytest.approx(series["volumes"]["ml"]["subdural"], rel=0.05)
    out = predicted(phantom_dir, run, tmp_path / "d", monkeypatch, masks="dicom_seg")
    (path,) = (out / "s_masks").iterdir()
    seg = pydicom.dcmread(path)
    frames = seg.pixel_array
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        label = seg.SegmentSequence[number - 1].SegmentLabel
        # Phantoms' files are named by their UID, as RSNA's are.
        mask = masks[source.ReferencedSOPInstanceUID]
        np.testing.assert_array_equal(frame, mask >> CLASSES.index(label) & 1)
    assert len(frames) == 2 * sum(mask.any() for mask in masks.values())


def test_a_model_without_masks_is_refused_before_files_are_read(run, phantom_dir, tmp_path) -> None:
    with pytest.raises(InputError, match=r"gives no masks.*--segmentation"):
        predict(
            PredictConfig(
                dicom_dir=str(phantom_dir / "stage_2_test"),
                work_dir=str(run),
                out_csv=str(tmp_path / "s.csv"),
                masks="png",
            )
        )
    assert list(tmp_path.iterdir()) == []


def test_masks_are_those_of_the_network(phantom_dir, tmp_path) -> None:
    """Of a network that reads smaller images than are stored, and with mirror images."""
    run = make_run(tmp_path / "w", 64, 1, segmentation=True)
    model, spec, _ = load_model(run)
    sha256 = load_predictor(run, tf.distribute.get_strategy()).sha256
    Postprocessing(model_sha256=sha256, flip=True, fitted_on={"splits": []}).save(run)
    out = predicted(phantom_dir, run, tmp_path / "o", None, masks="png", batch_size=5)
    masks = masks_of(out)
    assert 0.05 < np.mean([mask > 0 for mask in masks.values()]) < 1
    for name in list(masks)[::7]:
        (slice_,) = read_slices((phantom_dir / "stage_2_test" / f"{name}.dcm").read_bytes())
        image = seen_image(slice_.hu, (), 64, spec.windows)[None]
        both = [model(views, training=False)[1].numpy() for views in (image, image[:, :, ::-1])]
        mean = (sigmoid(both[0]) + sigmoid(both[1])[:, :, ::-1]) / 2
        assert mean.shape == (1, 32, 32, 6)
        expected = image_bits(mean[0].astype(np.float32), np.full(6, 0.5), (), 64, 64)
        assert np.mean(expected != masks[name]) < 0.002
