"""Masks of the server: those that the command writes, their areas, and who has none."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pandas as pd
import pytest

from ich_tf.labels import CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.serving.limits import Limits
from ich_tf.serving.studies import Studies
from tests.support.made_up import make_run
from tests.support.serving import files_of, running, served
from tests.support.studies import as_predicted, check_equal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks")


@pytest.fixture(scope="module")
def work_dir(folder: Path) -> Path:
    return make_run(folder / "w", 48, 1, segmentation=True, crop="head")


@pytest.fixture(scope="module")
def expected(phantom_dir: Path, work_dir: Path, folder: Path) -> list[dict]:
    """What the command writes, with its masks in `p/s_masks`."""
    return as_predicted(phantom_dir / "stage_2_test", work_dir, folder / "p", masks="png")


@pytest.fixture(scope="module")
def client(work_dir: Path, folder: Path) -> Iterator[httpx.Client]:
    with running(work_dir, folder / "state") as started:
        yield started


@pytest.fixture(scope="module")
def study(client: httpx.Client, phantom_dir: Path) -> dict:
    return served(client, files_of(phantom_dir / "stage_2_test"))


def studies_in(state: Path) -> Studies:
    return Studies.open(state, Limits())


def mask_of(client: httpx.Client, study_id: str, series: int, number: int) -> np.ndarray:
    answer = client.get(f"/api/studies/{study_id}/series/{series}/slices/{number}/mask.png")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_masks_are_those_of_predict(
    client: httpx.Client, study: dict, expected: list[dict], folder: Path
) -> None:
    check_equal(study, expected)
    seen = 0
    for number, series in enumerate(expected):
        for i, slice_ in enumerate(series["slices"]):
            path = folder / "p/s_masks" / f"{slice_['image_id']}.png"
            written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            served_mask = mask_of(client, study["study_id"], number, i)
            np.testing.assert_array_equal(served_mask, written)
            seen |= int(np.bitwise_or.reduce(written, axis=None))
    assert seen == 63, "every class is marked somewhere"


def test_areas_are_those_of_the_masks(client: httpx.Client, study: dict) -> None:
    table = pd.read_csv(
        io.StringIO(client.get(f"/api/studies/{study['study_id']}/results.csv").text)
    )
    for number, series in enumerate(study["series"]):
        areas = np.array(series["areas_mm2"])
        pixel_mm2 = np.prod(series["spacing_mm"])
        for i in (0, series["num_slices"] // 2):
            marked = unpack(mask_of(client, study["study_id"], number, i))
            np.testing.assert_allclose(areas[i], marked.sum(axis=(1, 2)) * pixel_mm2, atol=6e-4)
        rows = table[table["series"] == number]
        np.testing.assert_array_equal(rows[[f"{name}_mm2" for name in CLASSES]], areas)
    # Phantoms have slices of one distance, of which the first and the last stand for as much.
    z_mm = study["series"][0]["z_mm"]
    volume = np.array(study["series"][0]["areas_mm2"]).sum(axis=0) * (z_mm[1] - z_mm[0]) / 1000
    found = study["series"][0]["summary"]["volumes"]["ml"]
    np.testing.assert_allclose([found[name] for name in CLASSES], volume, rtol=0.01, atol=0.01)


def test_thresholds_are_told(client: httpx.Client) -> None:
    assert client.get("/api/model").json()["mask_thresholds"] == dict.fromkeys(CLASSES, 0.5)


def test_areas_outlive_a_restart(study: dict, folder: Path, tmp_path: Path) -> None:
    """Studies that an older server predicted have none."""
    key = study["study_id"]
    shutil.copytree(folder / "state/studies" / key, tmp_path / "studies" / key)
    kept = studies_in(tmp_path)
    assert [list(map(list, series.areas_mm2)) for series in kept.find(key).series] == [
        series["areas_mm2"] for series in study["series"]
    ]
    kept.close()
    path = tmp_path / "studies" / key / "study.json"
    content = json.loads(path.read_text())
    for series in content["series"]:
        del series["areas_mm2"]
    path.write_text(json.dumps(content))
    older = studies_in(tmp_path)
    assert [series.areas_mm2 for series in older.find(key).series] == [()] * len(study["series"])
    older.close()
