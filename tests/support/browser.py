"""Headless Chromium on the server's page, watched; and what its tests ask of the page."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SECONDS = 60.0
# What a window is rounded to on the canvas: a browser may blend by one level of grey.
GREY = 1


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium; the test skips, visibly, where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        # Without a sandbox: in a container Chromium has no right to make one.
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page in a profile of its own, and all that it logged, asked for and broke on."""

    def __init__(self, browser: Any, address: str, size: tuple[int, int] = (1280, 800)) -> None:
        self.address = address
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True
        )
        self.context.set_default_timeout(1000 * SECONDS)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.asked_to_stay = 0
        self.requests: list[str] = []
        self.expected: tuple[str, ...] = ()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"page: {error}"))
        self.page.on("dialog", self._on_dialog)
        self.context.on("request", lambda request: self.requests.append(request.url))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _on_dialog(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            self.asked_to_stay += 1
            dialog.accept()
            return
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        """Leaves, and says what should not have happened.

        Raises:
          AssertionError: If anything was logged as an error, or asked of another host.
        """
        self.context.close()
        problems = [
            one for one in self.problems if not any(known in one for known in self.expected)
        ]
        assert not problems, problems
        assert self.requests
        here = urlsplit(self.address).netloc
        foreign = [
            one
            for one in self.requests
            if urlsplit(one).scheme not in ("blob", "data") and urlsplit(one).netloc != here
        ]
        assert not foreign, foreign

    def open(self) -> None:
        """Loads the page, up to its start."""
        self.page.goto(self.address)
        self.page.wait_for_selector("#start:not([hidden])")

    def upload(self, files: Any) -> None:
        """Sends files through the input that the button opens, up to the study."""
        self.page.set_input_files("#files", files)
        self.page.wait_for_selector("#study:not([hidden])")
        self.shown()

    def shown(self, number: int | None = None) -> None:
        """Waits until a slice, counted from 0, is drawn; any without a number."""
        place = (
            '[data-slice]:not([data-slice=""])' if number is None else f'[data-slice="{number}"]'
        )
        self.page.wait_for_selector(f"#canvas{place}")

    def go_to(self, number: int) -> None:
        """To a slice, counted from 0, by the slider."""
        set_to = "(one, to) => { one.value = to; one.dispatchEvent(new Event('input')) }"
        self.page.eval_on_selector("#slice", set_to, number)
        self.shown(number)

    def text(self, selector: str) -> str:
        """What an element says, spaces as one."""
        self.settled()
        return " ".join(self.page.locator(selector).inner_text().split())

    def settled(self) -> None:
        """Waits until what was set is drawn: views hear of changes in the next frame."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def drawn(self) -> str:
        """A hash of the canvas' pixels."""
        self.settled()
        url = self.page.eval_on_selector("#canvas", "canvas => canvas.toDataURL()")
        return hashlib.sha256(url.encode()).hexdigest()

    def greys(self, points: Sequence[tuple[float, float]]) -> list[list[int]]:
        """Red, green and blue of the canvas at points of it, in CSS pixels."""
        self.settled()
        return self.page.eval_on_selector(
            "#canvas",
            """(canvas, points) => {
                 const copy = new OffscreenCanvas(canvas.width, canvas.height);
                 const context = copy.getContext('2d', { willReadFrequently: true });
                 context.drawImage(canvas, 0, 0);
                 return points.map(([x, y]) =>
                   [...context.getImageData(x, y, 1, 1).data.slice(0, 3)]);
               }""",
            [[round(x), round(y)] for x, y in points],
        )

    def point(self, x: float, y: float) -> tuple[int, int, int] | None:
        """HU, column and row that the page tells of a point of the canvas; None beside it."""
        box = self.page.locator("#canvas").bounding_box()
        self.page.mouse.move(box["x"] + x, box["y"] + y)
        words = self.text("#note-hu").replace(",", "").split()
        if not words:
            return None
        assert (words[1], words[2], words[4]) == ("HU", "column", "row"), words
        return int(words[0]), int(words[3]), int(words[5])

    def steady_points(self) -> list[tuple[float, float, int, int, int]]:
        """Points of the canvas and what the page tells of each: x, y, HU, column and row.

        Each lies within a pixel that is shown as a square of 8 or more: the cursor is at a corner
        of what it points at on the screen.
        """
        box = self.page.locator("#canvas").bounding_box()
        found = []
        for dx, dy in ((1, 1), (-60, 20), (45, -130), (90, 101), (-120, -77)):
            x, y = box["width"] // 2 + dx, box["height"] // 2 + dy
            for _ in range(12):
                told, other = self.point(x - 2, y - 2), self.point(x + 2, y + 2)
                if told is not None and told == other:
                    break
                # Off the border between two columns, or two rows.
                x += told is None or other is None or told[1] != other[1]
                y += told is None or other is None or told[2] != other[2]
            else:
                raise AssertionError(f"no pixel is a square near {x}, {y}")
            found.append((x, y, *told))
        return found

    def probabilities(self, classes: Sequence[str]) -> list[float]:
        """Of the slice that is shown, with all digits."""
        self.settled()
        return [
            float(self.page.get_attribute(f'.probability[data-class="{one}"]', "data-probability"))
            for one in classes
        ]

    def rejected(self, card: str = "#rejected") -> dict[str, tuple[str, str]]:
        """Names of files that were not used -> reason and message."""
        lines = self.page.locator(f"{card} li")
        return {
            lines.nth(i).locator(".file").inner_text(): (
                lines.nth(i).locator(".reason").inner_text(),
                lines.nth(i).locator(".why").inner_text(),
            )
            for i in range(lines.count())
        }

    def study_id(self) -> str:
        """As the server knows it."""
        return str(self.page.evaluate("() => location.hash")).removeprefix("#study=")

    def screenshot(self, name: str, folder: Path) -> None:
        """A picture to look at, in the folder of ICH_TF_SCREENSHOTS or in the test's own."""
        kept = os.environ.get("ICH_TF_SCREENSHOTS")
        target = Path(kept) if kept else folder
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"{name}.png"
        self.page.screenshot(path=path)
        assert path.stat().st_size > 5000
