"""Masks of the server and on its page: those that the command writes, pixel for pixel."""

import io
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from tests.support.serving import files_of, running, served_all
from tests.support.studies import as_predicted, check_equal

# What the page's own decoder makes of a PNG of the server.
DECODED = """async route => {
  const { decodeGreyPng } = await import('./png.js');
  const bytes = await (await fetch(route)).arrayBuffer();
  const { pixels, rows, columns } = await decodeGreyPng(bytes);
  return [rows, columns, ...pixels];
}"""
# Red, green and blue in the middle of each pixel of the slice, as it is drawn.
MIDDLES = """async route => {
  const { place, screenAt, WHOLE } = await import('./view_transform.js');
  const { UPRIGHT } = await import('./turn.js');
  const series = (await (await fetch(route)).json()).series[0];
  const canvas = document.getElementById('canvas');
  const box = place(series, WHOLE, UPRIGHT, canvas.clientWidth, canvas.clientHeight);
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const found = [];
  for (let row = 0; row < series.rows; row++) {
    for (let column = 0; column < series.columns; column++) {
      const [x, y] = screenAt(series, box, [column + 0.5, row + 0.5]).map(Math.floor);
      found.push(...data.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3));
    }
  }
  return found;
}"""


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
    with running(work_dir, folder / "state", keep_ids=True) as started:
        yield started


@pytest.fixture(scope="module")
def studies(client: httpx.Client, phantom_dir: Path) -> list[dict]:
    return served_all(client, files_of(phantom_dir / "stage_2_test"), seconds=120)


@pytest.fixture(scope="module")
def study(studies: list[dict]) -> dict:
    return studies[0]


def written_masks(series: dict, folder: Path) -> list[np.ndarray]:
    """What the command writes for the slices of a series."""
    paths = [
        folder / "p/s_masks" / f"{slice_['sop_instance_uid']}.png" for slice_ in series["slices"]
    ]
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]


def studies_in(state: Path) -> Studies:
    return Studies.open(state, Limits())


def mask_of(client: httpx.Client, study_id: str, series: int, number: int) -> np.ndarray:
    answer = client.get(f"/api/studies/{study_id}/series/{series}/slices/{number}/mask.png")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_masks_are_those_of_predict(
    client: httpx.Client, studies: list[dict], expected: list[dict], folder: Path
) -> None:
    check_equal(studies, expected)
    seen = 0
    for study in studies:
        for series in study["series"]:
            for i, written in enumerate(written_masks(series, folder)):
                served_mask = mask_of(client, study["study_id"], series["series"], i)
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
    """Studies of another version of the server are forgotten."""
    key = study["study_id"]
    shutil.copytree(folder / "state/studies" / key, tmp_path / "studies" / key)
    kept = studies_in(tmp_path)
    assert [list(map(list, series.areas_mm2)) for series in kept.find(key).series] == [
        series["areas_mm2"] for series in study["series"]
    ]
    kept.close()
    path = tmp_path / "studies" / key / "study.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 1}))
    older = studies_in(tmp_path)
    assert older.all() == [] and not path.exists()
    older.close()


@pytest.fixture
def page(client: httpx.Client, study: dict) -> Iterator[Any]:
    """The study on the page, by its address."""
    # Imported here: without a browser only these tests are skipped.
    from tests.support.browser import Visit, chromium

    with chromium() as browser:
        visit = Visit(browser, str(client.base_url))
        visit.page.goto(f"{client.base_url}#study={study['study_id']}")
        visit.page.wait_for_selector("#study:not([hidden])")
        visit.shown()
        yield visit
        visit.close()


def shown_mask(page: Any, study: dict) -> tuple[int, str]:
    """Number of the slice that is drawn with outlines, and the classes that are outlined."""
    page.page.wait_for_selector('#canvas[data-outlines]:not([data-outlines=""])')
    page.settled()
    found = page.page.get_attribute("#canvas", "data-outlines")
    return int(page.page.get_attribute("#canvas", "data-slice")), found


def drawn_over(page: Any, route: str) -> np.ndarray:
    """Whether something lies over the middle of each pixel of the slice, bool [64, 64]."""
    page.settled()
    on = np.array(page.page.evaluate(MIDDLES, route)).reshape(64, 64, 3)
    page.page.locator("#canvas").press("o")
    page.page.wait_for_selector('#canvas[data-outlines=""]')
    off = np.array(page.page.evaluate(MIDDLES, route)).reshape(64, 64, 3)
    page.page.locator("#canvas").press("o")
    assert (off == off[..., :1]).all(), "the slice itself is grey"
    return (on != off).any(axis=-1)


def test_the_page_draws_the_masks_of_predict(
    page: Any, study: dict, expected: list[dict], folder: Path
) -> None:
    assert expected
    route = f"api/studies/{study['study_id']}"
    number, _ = shown_mask(page, study)
    masks = written_masks(study["series"][0], folder)
    for i, mask in enumerate(masks):
        rows, columns, *pixels = page.page.evaluate(
            DECODED, f"{route}/series/0/slices/{i}/mask.png"
        )
        np.testing.assert_array_equal(np.reshape(pixels, (rows, columns)), mask)
    marked = unpack(masks[number])
    np.testing.assert_array_equal(drawn_over(page, route), marked.any(axis=0))
    # A class alone: the others are hidden by the legend.
    name = next(name for name, mask in zip(CLASSES[:5], marked, strict=False) if mask.any())
    for other in CLASSES:
        if other != name:
            page.page.click(f'#outline-legend button[data-class="{other}"]')
    page.page.wait_for_selector(f'#canvas[data-outlines="{name}"]')
    np.testing.assert_array_equal(drawn_over(page, route), marked[CLASSES.index(name)])


def test_every_filter_of_png_is_undone(page: Any) -> None:
    """Masks may come from another encoder one day."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 64, (20, 17), dtype=np.uint8)
    data = filtered_png(mask)
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), mask
    )
    page.page.route("**/made.png", lambda route: route.fulfill(body=data))
    rows, columns, *pixels = page.page.evaluate(DECODED, "made.png")
    np.testing.assert_array_equal(np.reshape(pixels, (rows, columns)), mask)


def filtered_png(mask: np.ndarray) -> bytes:
    """A PNG whose lines take the five filters in turns (PNG, 2nd edition, 9.2)."""
    padded = np.pad(mask.astype(int), ((1, 0), (1, 0)))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    estimate = left + above - corner
    distances = np.abs(np.stack([estimate - one for one in (left, above, corner)]))
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    expected = [0 * left, left, above, (left + above) // 2, paeth]
    lines = b"".join(
        bytes([row % 5]) + ((mask[row] - expected[row % 5][row]) % 256).astype(np.uint8).tobytes()
        for row in range(len(mask))
    )
    header = struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], 8, 0, 0, 0, 0)
    packed = zlib.compress(lines)
    parts = [(b"IHDR", header), (b"IDAT", packed[:9]), (b"IDAT", packed[9:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.slow
def test_outlines_are_chosen(page: Any, study: dict) -> None:
    number, classes = shown_mask(page, study)
    assert "Segmentation by a model" in page.text("#note-outlines")
    toggle = page.page.get_by_role("switch", name="Show the outlines")
    whole = page.drawn()
    toggle.click()
    page.page.wait_for_selector('#canvas[data-outlines=""]')
    plain = page.drawn()
    assert page.page.is_hidden("#note-outlines") and plain != whole
    page.page.locator("#canvas").press("o")
    page.page.wait_for_selector(f'#canvas[data-outlines="{classes}"]')
    assert page.drawn() == whole
    seen = {whole, plain}
    for key in ("f", ",", ","):  # without the fill, then fainter
        page.page.locator("#canvas").press(key)
        seen.add(page.drawn())
    assert len(seen) == 5 and page.text("#outline-opacity-text") == "70 %"
    assert not page.page.is_checked("#outline-fill")
    # Areas and volumes stand beside probabilities.
    series = study["series"][0]
    for k, name in enumerate(CLASSES):
        told = page.page.locator(f'.probability[data-class="{name}"] .area').inner_text()
        value = series["areas_mm2"][number][k] / 100
        assert abs(float(told.split()[0].strip("<")) - value) <= max(0.1, value / 200), told
        assert told.endswith("cm\u00b2")
        told = page.page.locator(f'#summary tr[data-class="{name}"] td').last.inner_text()
        assert abs(float(told.strip("<")) - series["summary"]["volumes"]["ml"][name]) <= 0.5
    # A click on the strip of areas goes to the slice, and keeps the class of the heat map.
    strip = page.page.locator("#strip")
    box = strip.bounding_box()
    place = {"x": 0.5 * box["width"] / series["num_slices"], "y": box["height"] - 4}
    strip.click(position=place)
    page.shown(0)
    strip.hover(position=place)
    assert page.text("#strip-tip").startswith("Slice 1: ")
    assert page.page.input_value("#heat-class") == "any"
    with page.page.expect_download() as waiting:
        page.page.get_by_role("button", name="Mask").click()
    name = waiting.value.suggested_filename
    assert name.startswith("ich_tf_2") and name.endswith("_mask_1_1.png")
