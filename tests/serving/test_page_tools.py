"""The page's tools: what is measured, turned and compared agrees with the pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.browser import Visit, chromium
from tests.support.dicom_files import make_dicom
from tests.support.made_up import make_run
from tests.support.serving import running, zipped

ROWS, COLUMNS = 64, 48
UID = "1.2.826.0.1.3680043.8.498.5150"
# Name, character set and what the page writes: text, even where it looks like markup.
NAMES = {
    "A": ("Olsen^Kari <u>", "ISO_IR 100", "Olsen, Kari <u>"),
    "B": ("Buc^J\xe9r\xf4me", "ISO_IR 100", "Buc, J\xe9r\xf4me"),
    "C": (
        "\u0412\u043e\u043b\u043a\u043e\u0432^\u0410\u043d\u043d\u0430",
        "ISO_IR 144",
        "\u0412\u043e\u043b\u043a\u043e\u0432, \u0410\u043d\u043d\u0430",
    ),
    "D": (
        "\u738b^\u5c0f\u6771",
        "ISO_IR 192",
        "\u738b, \u5c0f\u6771",
    ),
}


def made_slice(number: int, patient: str = "A", series: int = 2, **tags: Any) -> bytes:
    """A slice of 0.5 x 0.8 mm whose HU are 10 times the row plus the column, less 300."""
    hu = 10 * np.arange(ROWS)[:, None] + np.arange(COLUMNS) - 300 + 7 * number
    name, charset, _ = NAMES[patient]
    root = f"{UID}.{ord(patient)}"
    return make_dicom(
        (hu + 1500).astype(np.int16),
        intercept="-1500",
        tags={
            "SpecificCharacterSet": charset,
            "PatientName": name,
            "PatientID": f"PID-{patient}",
            "PatientBirthDate": "19450508",
            "StudyDate": "20261126",
            "StudyDescription": "CT head",
            "SeriesDescription": f"Reading {series}",
            "SeriesNumber": series,
            "SOPInstanceUID": f"{root}.{series}.{number}",
            "SeriesInstanceUID": f"{root}.{series}",
            "StudyInstanceUID": root,
            "PixelSpacing": ["0.5", "0.8"],
            "ImagePositionPatient": ["-12", "-16", str(5 * number)],
            **tags,
        },
    )


def payload(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("tools")
    model_dir = make_run(folder / "w", 64, 2, crop="head")
    with running(model_dir, folder / "state", series="all") as client:
        yield client


@pytest.fixture
def page(browser: Any, server: httpx.Client) -> Iterator[Visit]:
    visit = Visit(browser, str(server.base_url))
    visit.open()
    yield visit
    visit.close()


def upload(page: Visit, number: int = 4, **tags: Any) -> None:
    page.upload([payload(f"{i}.dcm", made_slice(i, **tags)) for i in range(number)])


def measures(page: Visit) -> list[str]:
    page.settled()
    told = str(page.page.get_attribute("#canvas", "data-measures"))
    return told.split("; ") if told else []


def at_pixel(page: Visit, column: float, row: float) -> tuple[float, float]:
    """Where a point of the upright slice is on the screen, CSS pixels of the window."""
    x, y = page.page.evaluate(
        """async ([column, row]) => {
          const { place, screenAt, WHOLE } = await import('./view_transform.js');
          const { UPRIGHT } = await import('./turn.js');
          const canvas = document.getElementById('canvas');
          const series = { rows: 64, columns: 48, spacing_mm: [0.5, 0.8] };
          const placed = place(series, WHOLE, UPRIGHT, canvas.clientWidth, canvas.clientHeight);
          const [x, y] = screenAt(series, placed, [column, row]);
          const box = canvas.getBoundingClientRect();
          return [box.left + x, box.top + y];
        }""",
        [column, row],
    )
    return x, y


def drag(page: Visit, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.page.mouse.move(*at_pixel(page, *start))
    page.page.mouse.down()
    page.page.mouse.move(*at_pixel(page, *end), steps=4)
    page.page.mouse.up()


def test_measures_and_turns(page: Visit, tmp_path: Path) -> None:
    upload(page)
    page.go_to(0)
    page.page.keyboard.press("l")
    drag(page, (10, 10), (40, 50))
    assert float(measures(page)[0].removesuffix(" mm")) == pytest.approx(
        np.hypot(30 * 0.8, 40 * 0.5), abs=0.3
    )
    # An angle by three clicks, the same after its first arm is dragged.
    page.page.keyboard.press("a")
    for point in ((30, 10), (20, 10), (20, 26)):
        page.page.mouse.click(*at_pixel(page, *point))
    assert float(measures(page)[1].removesuffix("\u00b0")) == pytest.approx(90, abs=1)
    # A region's HU are those of its pixels.
    page.page.keyboard.press("r")
    drag(page, (12, 20), (24, 36))
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    inside = ((columns + 0.5 - 18) / 6) ** 2 + ((rows + 0.5 - 28) / 8) ** 2 <= 1
    hu = (10 * rows + columns - 300)[inside]
    words = measures(page)[2].replace(",", "").split()
    assert words[0] == "mean" and float(words[1]) == pytest.approx(hu.mean(), abs=6)
    assert float(words[4]) == pytest.approx(hu.std(), abs=3)
    assert float(words[9]) == pytest.approx(inside.sum() * 0.4, rel=0.1) and words[10] == "mm\u00b2"
    page.screenshot("measures", tmp_path)
    # They keep their place in the slice, whichever way it is turned, and belong to it alone.
    before = measures(page)
    marks = {}
    for key in ("", "t", "x", "y", "i"):
        page.page.keyboard.press(key or "w")
        assert measures(page) == before
        marks[key] = "".join(
            page.text(f"#mark-{side}") for side in ("left", "top", "right", "bottom")
        )
    assert (marks[""], marks["t"], marks["x"], marks["y"]) == ("RALP", "PRAL", "ARPL", "ALPR")
    assert page.text("#note-turn") == "inverted, turned 270\u00b0"
    assert page.greys([(5, 300)]) == [[0, 0, 0]]  # the stage beside the slice is not inverted
    page.page.keyboard.press("u")
    page.page.keyboard.press("ArrowDown")
    page.shown(1)
    assert measures(page) == []
    page.page.keyboard.press("ArrowUp")
    page.shown(0)
    assert measures(page) == before
    page.page.keyboard.press("Backspace")
    assert measures(page) == before[:2]
    # By keyboard alone: a cross, moved and set.
    page.page.keyboard.press("l")
    page.page.locator("#canvas").press("Enter")
    for _ in range(5):
        page.page.keyboard.press("Shift+ArrowRight")
    page.page.keyboard.press("Enter")
    assert len(measures(page)) == 3 and float(measures(page)[2].removesuffix(" mm")) > 1


def test_window_drags_add_up(page: Visit) -> None:
    """Moves of single pixels do what one long move does, in each direction."""
    upload(page, 1)
    x, y = at_pixel(page, 24, 32)

    def dragged(steps: int, dx: int, dy: int) -> tuple[int, int]:
        page.page.keyboard.press("2")
        page.page.mouse.move(x, y)
        page.page.mouse.down()
        page.page.mouse.move(x + dx, y + dy, steps=steps)
        page.page.mouse.up()
        page.settled()
        return tuple(int(page.page.input_value(f"#window-{one}")) for one in ("center", "width"))

    for dx, dy in ((-30, 0), (30, 0), (0, -30), (0, 30)):
        center, width = dragged(30, dx, dy)
        # In small steps the step grows with the width; but it never stands still or doubles.
        assert abs(width - 200 - dx * 2 / 3) <= 3 and abs(center - 80 - dy * 2 / 3) <= 1


def test_wheels_count_every_notch(page: Visit) -> None:
    upload(page, 8)
    page.go_to(0)
    turn = """([lines, delta]) => document.getElementById('canvas').dispatchEvent(new WheelEvent(
        'wheel', { deltaY: delta, deltaMode: lines, bubbles: true, cancelable: true }))"""
    for (mode, delta), arrives in (((0, 300), 3), ((1, 6), 5), ((1, -3), 4), ((0, -200), 2)):
        page.page.evaluate(turn, [mode, delta])
        page.shown(arrives)


@pytest.mark.slow
def test_two_series_side_by_side(page: Visit, tmp_path: Path) -> None:
    bone = {"series": 3, "ConvolutionKernel": "BONE"}
    page.upload(
        [payload(f"a{i}.dcm", made_slice(i)) for i in range(5)]
        + [payload(f"b{i}.dcm", made_slice(2 * i, **bone)) for i in range(3)]
    )
    listed = page.page.locator("#series-list button")
    assert listed.count() == 2
    assert "Series 2" in listed.nth(0).inner_text() and "Reading 2" in listed.nth(0).inner_text()
    assert "Series 3" in listed.nth(1).inner_text() and "Reading 3" in listed.nth(1).inner_text()
    page.page.keyboard.press("d")
    page.go_to(4)
    second = page.page.locator("#canvas-2")
    page.page.wait_for_selector('#canvas-2[data-slice="2"]')
    for end in ("", "-2"):
        mark = page.page.locator(f"#mark-bottom{end}").bounding_box()
        bar = page.page.locator(f"#scale-bar{end}").bounding_box()
        assert mark["x"] + mark["width"] <= bar["x"]
    # The other pane becomes active, with a window of its own; both scroll together until unlinked.
    second.click()
    page.page.keyboard.press("4")
    assert page.text("#note-window-2") == "Bone C 600 W 2800"
    assert page.text("#note-window") == "Brain C 40 W 80"
    assert page.page.get_attribute("#strip", "aria-valuemax") == "3"
    page.page.keyboard.press("Home")
    page.shown(0)
    page.screenshot("two", tmp_path)
    page.page.emulate_media(media="print")
    mark = page.page.locator("#mark-left-2")
    color = mark.evaluate("element => getComputedStyle(element).color")
    # A slice is black on paper, too.
    assert (mark.inner_text(), color) == ("R", "rgb(255, 255, 255)")
    assert "slice " in page.text("#verdict-slice") and page.page.is_visible("#verdict-slice")
    page.page.emulate_media(media="screen")
    page.page.keyboard.press("k")
    page.page.keyboard.press("ArrowDown")
    page.page.wait_for_selector('#canvas-2[data-slice="1"]')
    assert page.page.get_attribute("#canvas", "data-slice") == "0"
    page.page.keyboard.press("d")
    page.settled()
    assert page.page.is_hidden("#stage-2") and "Slice 2 / 3" in page.text("#note-slice")


@pytest.mark.slow
def test_slabs_and_cine(page: Visit) -> None:
    upload(page, 6)
    page.go_to(2)
    page.page.select_option("#slab", "10")
    page.shown(2)
    assert page.text("#note-slab") == "Slab 10 mm: mean of 3 slices"
    box = page.page.locator("#canvas").bounding_box()
    value, column, row = page.point(box["width"] / 2, box["height"] / 2)
    assert value == 10 * row + column - 300 + 7 * 2
    page.go_to(0)  # of two slices at the end
    value, column, row = page.point(box["width"] / 2, box["height"] / 2)
    assert value == round(10 * row + column - 300 + 3.5)
    page.page.locator("#canvas").press(" ")
    page.page.wait_for_selector('#canvas[data-slice="5"]')
    page.page.wait_for_selector('#canvas[data-slice="1"]')  # and again from the first
    page.page.click("#cine-faster")
    page.page.wait_for_selector("#cine-rate:text-is('20 slices/s')")
    page.page.click("#cine-stop")
    page.page.wait_for_selector("#cine", state="hidden")


def test_whose_study_it_is(page: Visit, server: httpx.Client) -> None:
    """Each patient of an upload is a study by name, read in this browser, from archives as well."""
    archive = zipped([(f"{i}", made_slice(i, "D")) for i in range(2)])
    names = "ABC"
    page.upload(
        [payload(f"{one}.dcm", made_slice(0, one)) for one in names] + [payload("d.zip", archive)]
    )
    siblings = page.page.locator("#sibling-list button")
    assert siblings.count() == 4
    for number, one in enumerate("ABCD"):
        expect = siblings.nth(number).filter(has_text=NAMES[one][2])
        expect.wait_for()
    siblings.nth(3).click()
    page.page.wait_for_selector(f"#patient:has-text('{NAMES['D'][2]}')")
    assert page.text("#patient") == (
        f"Name {NAMES['D'][2]} Id PID-D Born 1945-05-08 Study 2026-11-26, CT head"
    )
    assert page.text("#stage .patient") == NAMES["D"][2]
    with page.page.expect_download() as one:
        page.page.get_by_role("button", name="CSV").click()
    siblings.nth(0).click()
    page.page.wait_for_selector("#patient:has-text('Olsen, Kari')")
    assert page.page.locator("u").count() == 0
    with page.page.expect_download() as other:
        page.page.get_by_role("button", name="CSV").click()
    saved = {download.value.suggested_filename for download in (one, other)}
    assert len(saved) == 2 and not any("Olsen" in name or "PID" in name for name in saved)
    # The start lists them; the server's answers name nobody.
    page.page.click("#new-study")
    page.page.wait_for_selector("#known-list li:nth-child(4)")
    listed = page.text("#known-list")
    assert all(name in listed for _, _, name in NAMES.values())
    ids = page.page.evaluate("() => JSON.parse(sessionStorage.getItem('ich_tf.studies'))[0].ids")
    answers = [server.get(f"/api/studies/{key}").text for key in ids]
    assert len(answers) == 4 and not any("Olsen" in text or "PID-" in text for text in answers)
    page.page.get_by_role("button", name="Olsen, Kari").click()
    page.page.wait_for_selector("#patient:has-text('Olsen, Kari')")


def test_a_reload_that_ends_an_upload_is_told(page: Visit) -> None:
    """The browser asks first, and the page says afterwards what was lost, once."""
    page.page.evaluate("() => sessionStorage.setItem('ich_tf.sending', '1')")
    for told in (True, False):
        page.page.reload()
        assert page.asked_to_stay == 1
        page.page.wait_for_selector("#start:not([hidden])")
        page.settled()
        assert ("ended the upload" in page.page.inner_text("body")) == told


@pytest.mark.slow
def test_large_uploads_go_in_parts(page: Visit, browser: Any, tmp_path: Path) -> None:
    model_dir = make_run(tmp_path / "w", 64, 2)
    with running(model_dir, tmp_path / "state", body_mb=1, list_studies=True) as client:
        visit = Visit(browser, str(client.base_url))
        visit.open()
        filler = {"ImageComments": "x" * 400_000}
        visit.upload([payload(f"{i}.dcm", made_slice(i, **filler)) for i in range(6)])
        assert "6 slices" in visit.text("#series-list")
        assert "6 files sent" in visit.text("#study-note")
        posts = [one for one in visit.requests if one.endswith(("studies?more=true", "/files"))]
        assert len(posts) == 2 and len(visit.requests) > 3
        visit.page.click("#new-study")
        visit.page.set_input_files("#files", payload("one.zip", bytes(2_000_000)))
        assert "at most 1.0 MB" in visit.text("#message-text")
        visit.close()
        # Another browser finds the study in the server's list, without a name.
        other = Visit(browser, str(client.base_url))
        other.open()
        other.page.get_by_role("button", name="Study sent at").click()
        other.page.wait_for_selector("#study:not([hidden])")
        assert "No name is known here" in other.text("#patient-note")
        other.close()
