"""The page in a browser: what a person does with a study, and what it must never do."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pydicom
import pytest

from ich_tf.labels import CLASSES
from ich_tf.masks.bits import unpack
from tests.support.browser import GREY, Visit, chromium
from tests.support.dicom_files import make_dicom
from tests.support.made_up import make_run
from tests.support.serving import files_of, running, zipped
from tests.support.studies import as_predicted

PRESETS = {
    "Brain": (40, 80),
    "Subdural": (80, 200),
    "Stroke": (32, 8),
    "Bone": (600, 2800),
    "Soft tissue": (40, 380),
}
SIZES = ((1280, 800), (1920, 1080), (1024, 768), (768, 1024))
TOKEN = "a token that only this test knows"
NAME, PATIENT = "Hemmelig^Navn", "PID-77123"
UID = "1.2.826.0.1.3680043.8.498.77123"

Visits = Callable[..., Visit]


def made_slice(number: int, **fields: Any) -> bytes:
    """A slice of 64 rows and 48 columns; no two pixels of it are the same, nor are two slices'."""
    stored = np.arange(64 * 48, dtype=np.int16).reshape(64, 48) + 5 * number
    fields.setdefault("intercept", "-1500")
    tags = {
        "PatientName": NAME,
        "PatientID": PATIENT,
        "AccessionNumber": "ACC-77123",
        "SOPInstanceUID": f"{UID}.3.{number}",
        "SeriesInstanceUID": f"{UID}.2",
        "StudyInstanceUID": f"{UID}.1",
        "ImagePositionPatient": ["-12", "-16", str(5 * number)],
    }
    return make_dicom(stored, tags=tags, **fields)


def made_hu(number: int) -> np.ndarray:
    """float64 [64, 48], the slice of `made_slice`."""
    return np.arange(64 * 48).reshape(64, 48) + 5.0 * number - 1500


def payload(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


MADE = [payload(f"{number}.dcm", made_slice(number)) for number in range(6)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("page") / "w", 64, 2, crop="head")


@pytest.fixture(scope="module")
def server(
    browser: Any, model_dir: Path, phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A server with a sample; after the browser, which may not be there."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "samples" / "a phantom").mkdir(parents=True)
    for name, data in files_of(phantom_dir / "stage_2_test", most=3):
        (folder / "samples" / "a phantom" / name).write_bytes(data)
    (folder / "samples" / "a phantom" / "description.txt").write_text("Three <b>slices</b>")
    # What random weights say of a pixel is too little for any colour.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ich_tf.inference.explainer._SPOT", 1e-4)
        with running(model_dir, folder / "state", samples_dir=str(folder / "samples")) as client:
            yield client


@pytest.fixture
def visit(browser: Any, server: httpx.Client) -> Iterator[Visits]:
    """Opens the page; when the test ends, all that its pages did is looked at."""
    visits = []

    def begin(address: str = "", size: tuple[int, int] = SIZES[0]) -> Visit:
        visits.append(Visit(browser, address or str(server.base_url), size))
        return visits[-1]

    def start(*given: Any, **fields: Any) -> Visit:
        one = begin(*given, **fields)
        one.open()
        return one

    start.begin = begin  # type: ignore[attr-defined]
    yield start
    for one in visits:
        one.close()


def check_probabilities(page: Visit, expected: list[dict]) -> None:
    """The first, a middle and the last slice of each series say what predict says."""
    series = page.page.locator("#series-list button")
    assert series.count() == len(expected)
    for number, one in enumerate(expected):
        series.nth(number).click()
        slices = one["slices"]
        assert f"{len(slices)} slices" in page.text(f"#series-list li:nth-child({number + 1})")
        for i in {0, len(slices) // 2, len(slices) - 1}:
            page.go_to(i)
            assert page.text("#note-slice") == f"Slice {i + 1} / {len(slices)}"
            np.testing.assert_allclose(
                page.probabilities(CLASSES),
                [slices[i]["probabilities"][name] for name in CLASSES],
                atol=1e-5,
            )


def expected_of(page: Visit, expected: list[dict]) -> dict:
    """The series among several whose first slice is that of the page's only series."""
    page.go_to(0)
    shown = page.probabilities(CLASSES)
    first = [[one["slices"][0]["probabilities"][name] for name in CLASSES] for one in expected]
    return expected[int(np.abs(np.array(first) - shown).max(axis=1).argmin())]


def no_trace(page: Visit, *secrets: str) -> None:
    """Neither what the page asks for nor its address and title, nor what the tab keeps, holds any.

    What is shown is read from the files in this browser.
    """
    kept = page.page.evaluate(
        """() => JSON.stringify(
            [{...sessionStorage}, {...localStorage}, location.href, document.title])"""
    )
    for text in (kept, *page.requests):
        for secret in secrets:
            assert secret and secret not in text


def test_a_phantom_study(visit: Visits, model_dir: Path, phantom_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "patient"
    source.mkdir()
    files = sorted((phantom_dir / "stage_2_test").iterdir())
    patients = [pydicom.dcmread(path, stop_before_pixels=True).PatientID for path in files]
    for path, patient in zip(files, patients, strict=True):
        if patient == patients[0]:
            shutil.copy(path, source)
    expected = as_predicted(source, model_dir, tmp_path / "out")
    page = visit()
    page.screenshot("start", tmp_path)
    page.upload(sorted(source.iterdir()))
    page.screenshot("phantom", tmp_path)
    assert page.page.is_hidden("#rejected")
    # Each patient is a study, by the name that this browser reads in its files.
    siblings = page.page.locator("#sibling-list button")
    assert siblings.count() == len(expected) > 1
    patients = {}
    for number in range(siblings.count()):
        before = page.study_id()
        if number:
            siblings.nth(number).click()
            page.page.wait_for_function("before => !location.hash.includes(before)", arg=before)
            page.page.wait_for_selector("#study:not([hidden])")
            page.shown()
        patients[page.study_id()] = page.text("#patient dd")
        check_probabilities(page, [expected_of(page, expected)])
    assert set(patients.values()) == {
        str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in source.iterdir()
    }
    assert len(patients) == len(expected)
    no_trace(page, *patients.values())
    # A reload comes back to the study, and has forgotten the files.
    before = page.study_id()
    page.page.reload()
    page.page.wait_for_selector("#study:not([hidden])")
    assert page.study_id() == before
    assert page.page.is_hidden("#patient") and "No name is known here" in page.text("#patient-note")
    # Back goes to the studies that were open before, and never off the page.
    page.page.go_back()
    page.page.wait_for_function("before => !location.hash.includes(before)", arg=before)
    page.page.wait_for_selector("#study:not([hidden])")


@pytest.fixture(scope="module")
def real_expected(
    real_dicom: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict]:
    folder = tmp_path_factory.mktemp("real")
    for path in (real_dicom / "ge_head").glob("*.dcm"):
        (folder / path.name).write_bytes(path.read_bytes())
    return as_predicted(folder, model_dir, tmp_path_factory.mktemp("predicted"))


def real_slices(real_dicom: Path) -> list[pydicom.Dataset]:
    """From foot to head, which is how the page counts."""
    slices = [pydicom.dcmread(path) for path in (real_dicom / "ge_head").glob("*.dcm")]
    orientation = np.array(slices[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    return sorted(slices, key=lambda one: float(np.dot(normal, one.ImagePositionPatient)))


@pytest.mark.slow
def test_real_slices_among_other_files(
    visit: Visits, real_dicom: Path, real_expected: list[dict], tmp_path: Path
) -> None:
    bad = real_dicom.parent / "bad_dicom" / "slope_text.dcm"
    files = sorted((real_dicom / "ge_head").iterdir())
    page = visit()
    page.upload([*files, bad])
    found = page.rejected()
    assert set(found) == {"LICENSE.txt", "slope_text.dcm"}
    assert found["LICENSE.txt"][0] == "NOT_DICOM"
    assert (
        found["slope_text.dcm"][0] == "BAD_RESCALE" and "RescaleSlope" in found["slope_text.dcm"][1]
    )
    page.screenshot("real", tmp_path)
    check_probabilities(page, real_expected)

    # The HU under the cursor are those of the file.
    slices = real_slices(real_dicom)
    stage = page.page.locator("#canvas").bounding_box()
    x, y = stage["width"] / 2, stage["height"] / 2
    for number in (3, 14, 27):
        page.go_to(number)
        one = slices[number]
        hu = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
        for dx, dy in ((0, 0), (-90, 40), (55, -120)):
            value, column, row = page.point(x + dx, y + dy)
            assert value == hu[row, column]
            if (dx, dy) == (0, 0):
                assert abs(column - 256) <= 1 and abs(row - 256) <= 1
    page.page.click("#heat-toggle")
    page.page.wait_for_selector('#canvas[data-heat="any"]')
    page.screenshot("real_heat", tmp_path)
    no_trace(page, slices[0].PatientID, slices[0].StudyInstanceUID, slices[0].SOPInstanceUID)


@pytest.mark.slow
def test_real_slices_in_a_zip(
    visit: Visits, real_dicom: Path, real_expected: list[dict], tmp_path: Path
) -> None:
    archive = zipped(
        [(f"head/{name}", data) for name, data in files_of(real_dicom / "ge_head")],
        zipfile.ZIP_STORED,
    )
    (tmp_path / "all.zip").write_bytes(archive)
    page = visit()
    page.upload(tmp_path / "all.zip")
    assert set(page.rejected()) == {"all.zip: head/LICENSE.txt"}
    check_probabilities(page, real_expected)


@pytest.mark.slow
def test_scrolling(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    seen = {}

    def arrived(number: int) -> None:
        page.shown(number)
        assert page.text("#note-slice") == f"Slice {number + 1} / 6"
        assert page.text("#note-place") == f"z {5 * number:.1f} mm"
        assert page.page.input_value("#slice") == str(number)
        drawn = page.drawn()
        assert seen.setdefault(number, drawn) == drawn

    page.page.keyboard.press("Home")
    arrived(0)
    for key, number in (
        ("ArrowDown", 1), ("ArrowRight", 2), ("ArrowUp", 1), ("ArrowLeft", 0), ("ArrowUp", 0),
        ("PageDown", 5), ("PageUp", 0), ("End", 5), ("ArrowDown", 5),
    ):  # fmt: skip
        page.page.keyboard.press(key)
        arrived(number)
    page.page.hover("#canvas")
    for turn, number in ((-100, 4), (-100, 3), (100, 4)):
        page.page.mouse.wheel(0, turn)
        arrived(number)
    page.go_to(2)
    arrived(2)
    box = page.page.locator("#slice").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 3)
    arrived(0)
    page.page.locator("#slice").press("ArrowDown")
    arrived(1)
    page.page.click("#tools button:nth-child(3)")
    page.page.hover("#canvas")
    page.page.mouse.down()
    box = page.page.locator("#canvas").bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 17, steps=4)
    page.page.mouse.up()
    arrived(3)
    assert len(set(seen.values())) == len(seen) == 6
    # Of outlines there is no word where the model gives none.
    for hidden in ("#outlines", "#note-outlines", "#downloads li:nth-child(5)"):
        assert page.page.is_hidden(hidden)
    assert "ml" not in page.text("#summary thead") and "Area" not in page.text("#strip-names")


def windowed(hu: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.clip((hu - (center - width / 2)) / width, 0, 1) * 255


def check_greys(page: Visit, points: list, number: int, center: float, width: float) -> None:
    """What is drawn under the cursor is the file's HU through the window."""
    hu = [made_hu(number)[row, column] for _, _, _, column, row in points]
    assert [one[2] for one in points] == hu
    assert len(set(hu)) == len(points)
    greys = np.array(page.greys([one[:2] for one in points]))
    assert (greys == greys[:, :1]).all()
    np.testing.assert_allclose(greys[:, 0], windowed(np.array(hu), center, width), atol=GREY)


@pytest.mark.slow
def test_windows(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    page.go_to(3)
    seen = set()
    points = page.steady_points()
    for name, (center, width) in PRESETS.items():
        page.page.get_by_role("button", name=name, exact=True).click()
        assert f"{name} C {center} W {width}" == page.text("#note-window")
        check_greys(page, points, 3, center, width)
        seen.add(page.drawn())
    assert len(seen) == len(PRESETS)
    for i, (center, width) in enumerate(PRESETS.values()):
        page.page.locator("#canvas").press(str(i + 1))
        page.settled()
        assert page.text("#note-window").endswith(f"C {center} W {width}")
        assert page.drawn() in seen
    page.page.fill("#window-center", "-200")
    page.page.fill("#window-width", "900")
    page.page.press("#window-width", "Enter")
    check_greys(page, points, 3, -200, 900)
    assert page.drawn() not in seen

    # Dragged to the right it widens, dragged down its center rises.
    before = page.drawn()
    box = page.page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x + 50, y + 30, steps=3)
    page.page.mouse.up()
    page.settled()
    center, width = (int(page.page.input_value(f"#window-{one}")) for one in ("center", "width"))
    assert center > -200 and width > 900
    assert page.drawn() != before
    check_greys(page, points, 3, center, width)


@pytest.mark.slow
def test_zoom_and_moves(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    page.go_to(1)
    page.page.get_by_role("button", name="Bone").click()
    whole = page.drawn()
    page.page.click("#zoom-in")
    page.page.keyboard.press("+")
    assert page.text("#note-zoom") == "1.6x"
    check_greys(page, page.steady_points(), 1, *PRESETS["Bone"])
    zoomed = page.drawn()
    page.page.locator("#canvas").press("Shift+ArrowLeft")
    check_greys(page, page.steady_points(), 1, *PRESETS["Bone"])
    assert len({whole, zoomed, page.drawn()}) == 3
    page.page.click("#zoom-fit")
    assert page.drawn() == whole


def test_heat_maps(visit: Visits, tmp_path: Path) -> None:
    page = visit()
    page.upload(MADE)
    page.go_to(2)
    plain = page.drawn()
    toggle = page.page.get_by_role("switch", name="Show the heat map")
    assert toggle.get_attribute("aria-checked") == "false"
    colour = "one => getComputedStyle(one).backgroundColor"
    toggle.hover()
    off = toggle.evaluate(colour)
    toggle.click()
    page.settled()
    assert toggle.evaluate(colour) != off  # under the cursor, too, it is seen to be on
    seen = {}
    for name in CLASSES:
        page.page.select_option("#heat-class", name)
        page.page.wait_for_selector(f'#canvas[data-heat="{name}"]')
        assert "attention, not segmentation" in page.text("#note-heat")
        seen[name] = page.drawn()
    # A class may have nothing that speaks for it; most have.
    assert len({*seen.values(), plain}) > 3
    hot = next(name for name in CLASSES if seen[name] != plain)
    page.page.select_option("#heat-class", hot)
    page.page.wait_for_selector(f'#canvas[data-heat="{hot}"]')
    assert page.drawn() == seen[hot]
    page.screenshot("heat", tmp_path)
    page.page.locator("#heat-opacity").press("ArrowLeft")
    page.settled()
    assert page.text("#heat-opacity-text") == "55 %"
    assert page.drawn() not in (seen[hot], plain)
    page.page.locator("#canvas").press("h")
    page.settled()
    assert toggle.get_attribute("aria-checked") == "false"
    assert page.drawn() == plain
    # Elsewhere it is another map.
    page.page.locator("#canvas").press("h")
    page.go_to(4)
    page.page.wait_for_selector(f'#canvas[data-heat="{hot}"]')


@pytest.mark.slow
def test_the_strip(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    strip = page.page.locator("#strip")
    box = strip.bounding_box()
    row = box["height"] / len(CLASSES)
    for number, place, name in ((4, 0, "any"), (1, 1, CLASSES[0]), (5, 5, CLASSES[4])):
        x = (number + 0.5) / 6 * box["width"]
        strip.click(position={"x": x, "y": (place + 0.5) * row})
        page.shown(number)
        page.settled()
        assert page.page.input_value("#heat-class") == name
        assert strip.get_attribute("aria-valuenow") == str(number + 1)
        strip.hover(position={"x": x, "y": (place + 0.5) * row})
        value = page.probabilities(CLASSES)[CLASSES.index(name)]
        said = page.text("#strip-tip")
        assert f"slice {number + 1}: " in said
        assert float(said.split()[-1].strip("<>")) == pytest.approx(value, abs=1e-3)
    strip.press("ArrowLeft")
    page.shown(4)


def test_downloads(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    shown = []
    for number in range(6):
        page.go_to(number)
        shown.append(page.probabilities(CLASSES))

    def download(name: str) -> tuple[str, bytes]:
        with page.page.expect_download() as waiting:
            page.page.get_by_role("button", name=name).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    name, data = download("CSV")
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert name.endswith(".csv") and len(rows) == 6
    np.testing.assert_array_equal([[float(row[one]) for one in CLASSES] for row in rows], shown)
    name, data = download("JSON")
    results = json.loads(data)
    assert name.endswith(".json") and "not for clinical use" in results["note"]
    assert results["study"]["series"][0]["probabilities"] == shown
    assert results["model"]["sha256"] in page.page.inner_text("#model-list")
    for button, kind in (("DICOM report", "SR"), ("DICOM heat map", "OT")):
        name, data = download(button)
        one = pydicom.dcmread(io.BytesIO(data))
        assert name.endswith(".dcm") and one.Modality == kind
        assert NAME.encode() not in data and PATIENT.encode() not in data


def test_a_study_is_deleted(visit: Visits, server: httpx.Client) -> None:
    page = visit()
    page.upload(MADE)
    address = f"/api/studies/{page.study_id()}"
    page.page.click("#delete-study")
    page.page.get_by_role("button", name="Keep it").click()
    assert server.get(address).status_code == 200 and page.page.is_visible("#study")
    page.page.click("#delete-study")
    page.page.get_by_role("button", name="Delete", exact=True).click()
    page.page.wait_for_selector("#start:not([hidden])")
    assert page.text("#message-text") == "The study was deleted from the server."
    assert server.get(address).status_code == 404
    page.page.reload()
    page.page.wait_for_selector("#start:not([hidden])")


@pytest.mark.slow
def test_nothing_to_see(visit: Visits, tmp_path: Path) -> None:
    """Only bad files: said so, each with its name; and the page goes on."""
    page = visit()
    page.page.set_input_files("#files", [payload("notes.txt", b"no slice"), payload("x", b"")])
    page.page.wait_for_selector("#message:not([hidden])")
    assert page.text("#message-text").startswith("None of 2 files is an axial CT slice")
    assert page.page.get_attribute("#message", "role") == "alert"
    found = page.rejected("#start-rejected")
    assert set(found) == {"notes.txt", "x"} and all(why for _, why in found.values())
    page.screenshot("failed", tmp_path)
    page.upload(MADE)
    assert page.page.is_hidden("#message")


@pytest.mark.slow
def test_a_folder_and_a_drop(visit: Visits, tmp_path: Path) -> None:
    folder = tmp_path / "CT head"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        (folder / "deep" / str(number)).write_bytes(made_slice(number))
    (folder / "readme.txt").write_text("no slice")
    (folder / ".DS_Store").write_text("left out without a word")
    page = visit()
    page.page.set_input_files("#folder", folder)
    page.page.wait_for_selector("#study:not([hidden])")
    assert set(page.rejected()) == {"CT head/readme.txt"}
    assert "3 slices" in page.text("#series-list")
    # As a drop on the study that is open, which begins a new one.
    page.page.evaluate(
        """slices => {
          const transfer = new DataTransfer();
          slices.forEach((bytes, i) =>
            transfer.items.add(new File([new Uint8Array(bytes)], `${i}.dcm`)));
          for (const type of ['dragover', 'drop']) {
            const given = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent(type, given));
          }
        }""",
        [list(made_slice(number)) for number in range(2)],
    )
    page.page.wait_for_selector("#series-list:has-text('2 slices')")
    assert page.page.is_hidden("#drop-veil")


def test_a_sample(visit: Visits) -> None:
    page = visit()
    assert "Three <b>slices</b>" in page.text(".sample")
    page.page.click(".sample")
    page.page.wait_for_selector("#study:not([hidden])")
    assert "slice" in page.text("#series-list")


@pytest.mark.slow
def test_a_full_queue_is_waited_for(visit: Visits) -> None:
    page = visit()
    page.expected = ("503",)
    full = {"error": {"code": "QUEUE_FULL", "message": "the queue is full."}}
    page.page.route(
        "**/api/studies",
        lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, json=full),
        times=1,
    )
    page.page.set_input_files("#files", MADE)
    page.page.wait_for_selector("#work-text:has-text('queue is full')")
    page.page.wait_for_selector("#study:not([hidden])")


@pytest.mark.slow
def test_cancelled_while_working(visit: Visits, server: httpx.Client) -> None:
    page = visit()
    answer = {
        "study_id": "x", "state": "reading", "error": None, "progress": {"done": 1, "total": 6},
        "num_files": 6, "expires_in_seconds": 60, "rejected": [], "series": [],
    }  # fmt: skip
    page.page.route(
        "**/api/studies/*",
        lambda route: (
            route.fulfill(json=answer) if route.request.method == "GET" else route.continue_()
        ),
    )
    page.page.set_input_files("#files", MADE)
    page.page.wait_for_selector("#work-text:has-text('1 of 6 files')")
    address = f"/api/studies/{page.study_id()}"
    assert server.get(address).status_code == 200
    with page.page.expect_response(lambda one: one.request.method == "DELETE") as deleted:
        page.page.click("#work-cancel")
    assert deleted.value.status == 204
    assert page.page.is_visible("#start")
    assert server.get(address).status_code == 404


def test_a_token(visit: Visits, browser: Any, model_dir: Path, tmp_path: Path) -> None:
    with running(model_dir, tmp_path / "state", token=TOKEN) as client:
        page = visit.begin(str(client.base_url))  # type: ignore[attr-defined]
        page.expected = ("401",)  # which Chromium logs
        page.page.goto(page.address)
        dialog = page.page.get_by_role("dialog", name="A token is needed")
        dialog.wait_for()
        page.page.keyboard.press("Escape")
        page.page.keyboard.press("Escape")
        page.page.wait_for_selector("#token-dialog[open]")
        page.screenshot("token", tmp_path)
        page.page.fill("#token", "another token than that")
        page.page.keyboard.press("Enter")
        page.page.wait_for_selector("#token-text:has-text('does not take this token')")
        page.page.fill("#token", TOKEN)
        page.page.keyboard.press("Enter")
        page.page.wait_for_selector("#start:not([hidden])")
        page.upload(MADE)
        with page.page.expect_download() as waiting:
            page.page.get_by_role("button", name="CSV").click()
        assert Path(waiting.value.path()).read_text().startswith("series,slice,")
        assert not any(TOKEN.split()[-1] in one for one in page.requests)
        assert page.page.evaluate("() => localStorage.length") == 0
        page.page.reload()
        page.page.wait_for_selector("#study:not([hidden])")
        # Of slices that it still asks for, the server's end would be a problem.
        page.page.goto("about:blank")


MARKUP = '<img src=x onerror="window.broken=1">'


def test_text_is_text(visit: Visits) -> None:
    """Markup in names of files, of archives' entries, and in tags, shows as it is written."""
    page = visit()
    bad = made_slice(9, slope="<img src=x>")
    archive = zipped([(f"{MARKUP}.dcm", b"none"), ("fine.dcm", made_slice(8))])
    page.upload(
        [
            *MADE,
            payload(f"a{MARKUP}.dcm", bad),
            payload("b.dcm", make_dicom(tags={"Modality": "<img src=x>"})),
            payload(f"c{MARKUP}.zip", archive),
        ]
    )
    found = page.rejected()
    assert set(found) == {f"a{MARKUP}.dcm", "b.dcm", f"c{MARKUP}.zip: {MARKUP}.dcm"}
    assert page.page.locator("img").count() == 0
    assert page.page.evaluate("() => window.broken") is None
    page.page.set_input_files("#files", [payload(f"d{MARKUP}", b"none")])
    page.page.wait_for_selector("#start-rejected:not([hidden])")
    assert set(page.rejected("#start-rejected")) == {f"d{MARKUP}"}
    assert page.page.locator("img").count() == 0
    assert page.page.evaluate("() => window.broken") is None


def test_no_patient_is_named(visit: Visits, server: httpx.Client) -> None:
    page = visit()
    page.upload(
        [payload(f"{number}.dcm", made_slice(number)) for number in range(3)]
        + [payload("bad.dcm", made_slice(4, slope="nan"))]
    )
    page.page.click("#all-details summary")
    page.page.click("#heat-toggle")
    page.page.wait_for_selector('#canvas[data-heat="any"]')
    assert set(page.rejected()) == {"bad.dcm"}
    no_trace(page, NAME, NAME.split("^")[0], PATIENT, "ACC-77123", UID)
    # Names of files may be names of people: they stay in the browser.
    named = visit()
    bodies = []
    named.page.route(
        "**/api/studies",
        lambda route: (bodies.append(route.request.post_data_buffer or b""), route.continue_()),
    )
    named.upload([payload("Kari Olsen.dcm", made_slice(1)), payload("Olsen.txt", b"none")])
    assert set(named.rejected()) == {"Olsen.txt"}
    answer = server.get(f"/api/studies/{named.study_id()}").text
    assert "Olsen" not in answer and "Kari" not in answer
    assert bodies and all(b"Olsen" not in one for one in bodies)


FOCUSABLE = """() => [...document.querySelectorAll(
    'button, input, select, summary, a[href], [tabindex="0"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.disabled
    && !one.closest('dialog:not([open])') && !one.matches('.skip'))
  .map(one => { one.dataset.stop ??= String(Math.random()); return one.dataset.stop; })"""
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return { stop: one.dataset.stop ?? '', name: one.id || one.textContent.trim() || one.tagName,
    outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    inside: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth };
}"""


def tabbed(page: Visit) -> None:
    """Tab reaches all that can be used, each seen to have the focus."""
    wanted = page.page.evaluate(FOCUSABLE)
    assert len(wanted) > 3
    page.page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    page.page.focus("body")
    reached = []
    for _ in range(3 * len(wanted) + 10):
        page.page.keyboard.press("Tab")
        now = page.page.evaluate(FOCUSED)
        if now["stop"]:
            assert now["outline"] and now["inside"], now
            if now["stop"] in reached:
                break
            reached.append(now["stop"])
    missing = [
        page.page.locator(f'[data-stop="{one}"]').evaluate("one => one.outerHTML")
        for one in set(wanted) - set(reached)
    ]
    assert not missing, missing


@pytest.mark.slow
def test_by_keyboard_alone(visit: Visits) -> None:
    page = visit()
    # Long before it is needed: with the first listener Playwright begins to catch choosers, and
    # does not wait until it does.
    page.page.on("filechooser", lambda _: None)
    tabbed(page)
    page.page.focus("#choose-files")
    with page.page.expect_file_chooser() as chooser:
        page.page.keyboard.press("Enter")
    chooser.value.set_files([*MADE[:3], payload("x.txt", b"none")])
    page.page.wait_for_selector("#study:not([hidden])")
    page.shown()
    assert page.page.evaluate("() => document.activeElement.id") == "canvas"
    page.page.keyboard.press("?")
    page.page.get_by_role("dialog", name="Keys and mouse").wait_for()
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("#help-dialog", state="hidden")
    page.page.focus("#all-details summary")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#all-table tbody tr:nth-child(3)")
    tabbed(page)


NAMED = ("button", "switch", "slider", "spinbutton", "combobox", "textbox", "dialog", "img",
         "Canvas", "image", "toolbar", "table", "progressbar", "checkbox", "link")  # fmt: skip


def unnamed(page: Visit) -> list[str]:
    """What Chromium's tree for screen readers has without a name, of what needs one."""
    session = page.context.new_cdp_session(page.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    seen = [one for one in nodes if not one.get("ignored") and one["role"]["value"] in NAMED]
    assert seen
    return [
        str(one["role"]["value"])
        for one in seen
        if not one.get("name", {}).get("value", "").strip()
    ]


@pytest.mark.slow
def test_all_is_named_for_screen_readers(visit: Visits) -> None:
    page = visit()
    assert unnamed(page) == []
    page.upload([*MADE, payload("x.txt", b"none")])
    page.page.click("#all-details summary")
    page.page.click("#heat-toggle")
    page.page.wait_for_selector('#canvas[data-heat="any"]')
    assert unnamed(page) == []
    for button, dialog in (("help", "help"), ("about-model", "model"), ("delete-study", "delete")):
        page.page.click(f"#{button}")
        page.page.wait_for_selector(f"#{dialog}-dialog[open]")
        assert unnamed(page) == []
        page.page.keyboard.press("Escape")
    # A slice is told when scrolling rests.
    page.page.locator("#canvas").press("Home")
    page.page.wait_for_selector("#live:has-text('Slice 1 of 6. Any hemorrhage')", state="attached")
    assert page.text("#canvas") == ""
    assert "CT slice 1 of 6" in str(page.page.get_attribute("#canvas", "aria-label"))


def with_points(
    page: Visit,
    slices: dict[str, float],
    series: dict[str, float],
    mask: np.ndarray | None = None,
    answers: dict[str, str] | None = None,
) -> None:
    """Lets the model have operating points, its word on whole series, masks and abstention."""
    given: dict[str, Any] = {"thresholds": {"slice": slices, "series": series}}
    if mask is not None:
        given["mask_thresholds"] = dict.fromkeys(CLASSES, 0.5)

    def model(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), **given})

    def study(route: Any) -> None:
        answer = route.fetch()
        if route.request.method != "GET":
            route.fulfill(response=answer)
            return
        found = answer.json()
        if found["model"]:
            found["model"].update(given)
        for one in found["series"]:
            summary = one["summary"]
            summary["series_model"] = summary["max"]
            summary["decisions"] = {name: summary["max"][name] >= series[name] for name in CLASSES}
            summary["abstention"] = answers
            if mask is not None:
                areas = unpack(mask).sum(axis=(1, 2)) * 0.25
                one["areas_mm2"] = [areas.tolist()] * one["num_slices"]
                kinds = {
                    "ml": 123.4, "low_ml": 111.4, "high_ml": 133.4, "likely_low_ml": 88.4,
                    "likely_high_ml": 155.4, "abc2_ml": 123.4,
                }  # fmt: skip
                summary["volumes"] = {
                    kind: dict.fromkeys(CLASSES, ml) for kind, ml in kinds.items()
                }
        route.fulfill(response=answer, json=found)

    page.page.route("**/api/model", model)
    page.page.route("**/api/studies/*", study)
    if mask is not None:
        data = cv2.imencode(".png", mask)[1].tobytes()
        page.page.route("**/mask.png", lambda route: route.fulfill(body=data))


@pytest.mark.slow
def test_operating_points(visit: Visits) -> None:
    page = visit()
    page.upload(MADE)
    page.go_to(1)
    assert "no operating points" in page.text("#point-note")
    assert page.page.locator("#summary tr").first.locator("th").count() == 3
    values = dict(zip(CLASSES, page.probabilities(CLASSES), strict=True))
    # At or above: a probability at its point is above.
    slices = {name: value + i % 3 * 1e-9 for i, (name, value) in enumerate(values.items())}
    series = {name: 1.0 if name == "epidural" else 0.0 for name in CLASSES}
    with_points(page, slices, series)
    page.page.reload()
    page.page.wait_for_selector("#study:not([hidden])")
    page.go_to(1)
    page.settled()
    for i, name in enumerate(CLASSES):
        line = page.page.locator(f'.probability[data-class="{name}"]')
        above = i % 3 == 0
        assert line.get_attribute("data-above") == str(above).lower()
        assert (line.locator(".flag").inner_text() == "above") == above
        said = page.page.locator(f'#summary tr[data-class="{name}"] td').last.inner_text()
        assert said == ("below" if name == "epidural" else "above")
    assert "Youden" in page.text("#point-note")
    assert page.page.locator("#verdict-answer").is_hidden()


@pytest.mark.slow
def test_abstention(visit: Visits) -> None:
    page = visit()
    answers = {name: ("yes", "no", "abstain")[i % 3] for i, name in enumerate(CLASSES)}
    with_points(page, dict.fromkeys(CLASSES, 0.5), dict.fromkeys(CLASSES, 0.5), answers=answers)
    page.upload(MADE)
    words = {"yes": "yes", "no": "no", "abstain": "left to a reader"}
    assert page.text("#verdict-answer") == f"Decision: {words[answers['any']]}"
    assert page.page.locator("#summary thead th").last.inner_text().lower() == "decision"
    for name in CLASSES:
        said = page.page.locator(f'#summary tr[data-class="{name}"] td').last.inner_text()
        assert said == {**words, "abstain": "reader"}[answers[name]], name
    assert page.page.evaluate(CUT_OFF) == []


# Text that is cut off: its own box is narrower than it.
CUT_OFF = """() => [...document.querySelectorAll(
    'button, th, td, dt, dd, p, h1, h2, h3, label, span')]
  .filter(one => one.checkVisibility() && !one.matches('.unseen, #tools span, #model-chip')
    && !one.closest('dialog, .unseen, #all-table') && one.clientWidth > 0
    && one.scrollWidth > one.clientWidth + 1)
  .concat([...document.querySelectorAll('.scroll-x')]
    .filter(one => one.scrollWidth > one.clientWidth))
  .map(one => one.outerHTML.slice(0, 200))"""


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=[f"{one}x{other}" for one, other in SIZES])
def test_it_fits(visit: Visits, size: tuple[int, int], tmp_path: Path) -> None:
    page = visit(size=size)
    mask = np.zeros((64, 48), np.uint8)
    mask[20:40, 10:30], mask[30:50, 25:40] = 63, 34
    with_points(page, dict.fromkeys(CLASSES, 0.001), dict.fromkeys(CLASSES, 0.9), mask)
    page.open()
    measure = "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    page.screenshot(f"start_{size[0]}", tmp_path)
    assert page.page.evaluate(measure)[0] <= size[0]
    page.upload([*MADE, payload("a file with quite a long name of its own.txt", b"none")])
    page.page.click("#all-details summary")
    page.page.wait_for_selector('#canvas[data-outlines^="any epidural"]')
    told = "88.4 to 155 ml, by the model's error in nine of ten validation series; 111 to 133 ml"
    assert told in page.text("#summary-note")
    page.screenshot(f"study_{size[0]}", tmp_path)
    width, height = page.page.evaluate(measure)
    assert width <= size[0]
    if size[0] > 900:  # an upright tablet scrolls
        assert height <= size[1]
    assert page.page.evaluate(CUT_OFF) == []
    assert page.page.is_visible("text=Research only - not for clinical use")
    tops = page.page.evaluate(
        "() => [...document.querySelectorAll('.toolbar > .group')].map(one => one.offsetTop)"
    )
    assert len(set(tops)) == 1, "the toolbar takes a second line"
    stage = page.page.locator("#stage").bounding_box()
    assert min(stage["width"], stage["height"]) > 400


@pytest.mark.slow
def test_on_a_telephone_the_columns_follow_each_other(visit: Visits, tmp_path: Path) -> None:
    page = visit(size=(480, 900))
    page.upload(MADE[:2])
    page.screenshot("study_480", tmp_path)
    findings, about = (
        page.page.locator(column).bounding_box() for column in (".findings", ".about")
    )
    assert about["y"] >= findings["y"] + findings["height"]
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 480
