"""Thresholds of masks: those of least volume bias on validation series."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.masks.class_volumes import THRESHOLDS, ClassVolumes, split_volumes
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.masks.threshold_fitting import fit_thresholds
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.volume_error import VolumeError
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics.extents import slice_extents_mm
from ich_tf.records.example import decode
from ich_tf.records.manifest import Manifest
from ich_tf.records.tfrecord import read_records
from ich_tf.training.trainer import train
from tests.support.runs import smoke_config

SUBDURAL = CLASSES.index("subdural")


class LeftHalf(MaskNetwork):
    """A network that is sure to 0.3 of each class in the left half of an image."""

    def __init__(self) -> None:
        pass

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(images), 64, 64, 6), np.float32)
        maps[:, :, :32] = 0.3
        return maps


class Quarters(LeftHalf):
    """A network that is sure to 0.3 of subdural blood above, and to 0.6 of any on the left."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(images), 64, 64, 6), np.float32)
        maps[:, :32, :, SUBDURAL] = 0.3
        maps[:, :, :32, ANY] = 0.6
        return maps


def test_volumes_of_records_are_those_of_their_masks(masked_dir: Path) -> None:
    manifest = Manifest.load(masked_dir)
    found = split_volumes(LeftHalf(), manifest, "fold-1", 16, 1).of_class(SUBDURAL)
    series: dict[str, list] = {}
    for shard in manifest.split_shards("fold-1"):
        for payload in read_records(shard.path):
            record = decode(payload)
            series.setdefault(record.series_key, []).append(record)
    expected, halves, is_whole, patients = [], [], [], []
    # The fixture's pixels have an area of 1 mm2, whatever their spacing: images of 4,096 mm2.
    pixel_mm2 = {key: np.prod(records[0].spacing_mm) for key, records in series.items()}
    bleeding = [key for key, records in series.items() if any(record.mask for record in records)]
    usual = np.median([4096 / pixel_mm2[key] for key in bleeding])
    for key, records in series.items():
        records.sort(key=lambda record: record.z_mm)
        extents = slice_extents_mm([record.z_mm for record in records])
        known = np.array([record.annotated >> SUBDURAL & 1 for record in records])
        known |= np.array([not (record.annotated or record.labels[SUBDURAL]) for record in records])
        areas = np.array([(record.lesion_mm2 or [0] * 6)[SUBDURAL] for record in records])
        if known.any():
            expected.append(extents @ (known * areas) / 1000)
            image_mm2 = 4096 if key in bleeding else usual * pixel_mm2[key]
            halves.append(extents @ known * image_mm2 / 2 / 1000)
            is_whole.append(known.all())
            patients.append(records[0].patient_key)
    assert np.count_nonzero(expected) > 0 and not np.all(expected)
    np.testing.assert_allclose(found.true, expected, rtol=1e-5)
    assert found.is_whole.tolist() == is_whole
    assert found.patients.tolist() == patients
    np.testing.assert_allclose(found.predicted[:, 0], halves, rtol=1e-5)
    assert (found.predicted[:, place_of(0.3) + 1 :] == 0).all()


def place_of(threshold: float) -> int:
    return int(np.argmin(np.abs(THRESHOLDS - threshold)))


def test_any_holds_what_is_marked_of_subtypes(masked_dir: Path) -> None:
    """As the masks of a prediction do, whose volumes these are to be."""
    volumes = split_volumes(Quarters(), Manifest.load(masked_dir), "fold-1", 16, 1)
    alone = volumes.of_class(ANY).predicted
    halves = alone[:, place_of(0.6)]
    assert (halves > 0).all() and (alone[:, place_of(0.61)] == 0).all()
    # Quarters of the image: left, and right above.
    low = volumes.of_class(ANY, [place_of(0.5)] * 4 + [place_of(0.3)]).predicted
    np.testing.assert_allclose(low[:, place_of(0.6)], 1.5 * halves, rtol=1e-6)
    np.testing.assert_allclose(low[:, place_of(0.61)], halves, rtol=1e-6)
    high = volumes.of_class(ANY, [place_of(0.5)] * 5).predicted
    np.testing.assert_array_equal(high, alone)


def test_the_threshold_of_least_bias_is_taken_where_there_are_series_enough() -> None:
    def volumes(number: int) -> ClassVolumes:
        # Right at 0.3, on average; and a series without a bleed, which does not count.
        signs = (-1.0) ** np.arange(number + 1)[:, None]
        true = np.array([*[20.0] * number, 0.0])
        predicted = 20 * (1.3 - THRESHOLDS) + signs
        return ClassVolumes(predicted, true, true >= 0, np.array(["P"] * len(true)))

    few, enough = volumes(4), ClassVolumes.concatenate([volumes(4)] * 2)
    thresholds, told = fit_thresholds([volumes(0), few, volumes(0), volumes(0), enough, few])
    assert thresholds == (0.5, 0.5, 0.5, 0.5, 0.3, 0.5)
    assert list(told) == ["intraparenchymal", "subdural", "any"]
    assert told["subdural"]["num_series"] == 8
    assert told["subdural"]["bias_ml_before"] == pytest.approx(-4)
    assert told["subdural"]["bias_ml_after"] == pytest.approx(0, abs=1e-9)
    # 20 * (1.3 - 0.5) and 20 * (1.3 - 0.3), and one more.
    assert told["subdural"]["num_without"] == 2
    assert told["subdural"]["false_ml_before"] == pytest.approx(17)
    assert told["subdural"]["false_ml_after"] == pytest.approx(21)


@pytest.mark.slow
def test_a_calibrated_run_marks_at_its_thresholds(masked_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(smoke_config(masked_dir, run, segmentation=True, mask_weight=1.0))
    config = CalibrateConfig(data_dir=str(masked_dir), work_dir=str(run), method="platt")
    calibration = calibrate(config)
    assert "masks of any: threshold" in calibration.report()
    fitted = calibration.postprocessing
    assert len(fitted.mask_thresholds) == 6
    told = fitted.fitted_on["masks"]["any"]
    line = next(x for x in calibration.report().splitlines() if x.startswith("masks of any:"))
    assert ("(not chosen: that takes 5 series with a bleed)" in line) == (told["num_series"] < 5)
    assert abs(told["bias_ml_after"]) <= abs(told["bias_ml_before"])
    # Of the patients of one fold, few have whole masks.
    assert "volumes of any: no interval" in calibration.report()
    assert fitted.volume_errors == (None,) * 6
    with_error = replace(fitted, volume_errors=(None, VolumeError(1.0, 0.2), *(None,) * 4))
    with_error.save(run)
    assert load_postprocessing(run, fitted.model_sha256) == with_error
