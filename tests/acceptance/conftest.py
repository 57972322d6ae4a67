"""A head without a bleed, small enough that bleeds are put into it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ich_tf.acceptance.config import InsertConfig
from ich_tf.acceptance.insert import insert_bleeds
from ich_tf.phantom.geometry import Geometry
from ich_tf.phantom.headers import Identifiers, write_study
from ich_tf.phantom.study import Encoding, PhantomStudy

SIDE, PIXEL_MM, STEP_MM, SLICES = 112, 1.9, 8.0, 14


def head_hu(turn: float = 0.2) -> np.ndarray:
    """An egg of brain in bone and skin, with ventricles and noise, int16 [14, 112, 112]."""
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    z = (np.arange(SLICES) * STEP_MM - 46.0)[:, None, None]
    u, v = axis[None, None, :], axis[None, :, None]
    x = u * np.cos(turn) + v * np.sin(turn)
    y = v * np.cos(turn) - u * np.sin(turn)
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2)
    hu = np.full(radius.shape, -1000.0)
    for limit, value in ((1.2, 40.0), (1.12, 1100.0), (1.0, 36.0)):
        hu[np.broadcast_to(radius < limit, hu.shape)] = value
    ventricle = (np.abs(np.abs(x) - 14) < 8) & (np.abs(y) < 30) & (np.abs(z - 6) < 13)
    hu[ventricle] = 7.0
    noise = np.random.default_rng(0).normal(0, 3.0, hu.shape)
    return np.rint(np.maximum(hu + noise, -1000)).astype(np.int16)


def write_head(folder: Path, hu: np.ndarray, *, signed: bool = True, patient: int = 0) -> Path:
    """Writes slices as DICOM files with the headers of an archive."""
    folder.mkdir(parents=True)
    count = len(hu)
    positions = np.zeros((count, 3))
    positions[:, :2] = -(SIDE - 1) / 2 * PIXEL_MM
    positions[:, 2] = np.arange(count) * STEP_MM
    encoding = Encoding(signed, -1024, False, False, False, False)
    geometry = Geometry(PIXEL_MM, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), positions, 0.0)
    study = PhantomStudy(hu, np.zeros(hu.shape, np.uint8), geometry, encoding)
    write_study(folder, study, Identifiers.for_patient(0, patient), "ID_00000001", "archive")
    return folder


@pytest.fixture(scope="session")
def negatives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one head without a bleed."""
    return write_head(tmp_path_factory.mktemp("negatives") / "head", head_hu())


def config_of(negatives: Path, out_dir: Path, **options: object) -> InsertConfig:
    """Config of an insertion of two copies, whose bleeds are large."""
    shares = ("subdural=1", "intraparenchymal=1")
    given = {"per_study": 2, "subtype_shares": shares, "min_volume_ml": 25.0, "seed": 3} | options
    return InsertConfig(dicom_dir=str(negatives), out_dir=str(out_dir), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def inserted(negatives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two copies of that head."""
    out_dir = tmp_path_factory.mktemp("inserted") / "out"
    summary = insert_bleeds(config_of(negatives, out_dir), 1)
    assert (summary.num_series, summary.num_cases, summary.num_slices) == (1, 2, 28)
    assert summary.leading["subdural"] == summary.leading["intraparenchymal"] == 1
    return out_dir
