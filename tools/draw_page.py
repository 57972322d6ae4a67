"""Draws docs/page.jpg and docs/report.jpg: the web page and the report in a browser.

  python -m tools.draw_page

Needs the results of `make demo`, samples (ich_tf.make_samples) and Chromium.

Exit codes: 0 done; 1 Chromium or the results are missing; 2 wrong usage.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command

command.add_headings({"work_dir": "Input", "out_dir": "Output"})
_WORK_DIR = command.define_path("work_dir", "runs/resnet50", "Folder of the trained model.")
_REPORT = command.define_path(
    "report", "runs/resnet50/evaluation/test/report.html", "Report that ich_tf.evaluate wrote."
)
_SAMPLES = command.define_path(
    "samples_dir", "data/samples", "Folder that ich_tf.make_samples wrote."
)
_SAMPLE = flags.DEFINE_string("sample", "subdural", "Sample to show, the name of its class.")
_OUT_DIR = command.define_path("out_dir", "docs", "Folder to write the pictures into.")
_WIDTH, _HEIGHT = 1440, 900
_QUALITY = 68


def main() -> None:
    """Starts a server and a browser, and saves two screenshots."""
    from playwright.sync_api import sync_playwright

    from ich_tf.errors import InputError
    from tools.benchmark.service import started

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    report = Path(_REPORT.value).resolve()
    if browser_path is None:
        raise InputError("Chromium is not installed. Install it: it takes the screenshots.")
    if not report.is_file():
        raise InputError(f"{report}: no such file. Run make demo first.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        state = Path(folder) / "state"
        samples = f"--samples_dir={Path(_SAMPLES.value).resolve()}"
        with started(Path(_WORK_DIR.value).resolve(), state, samples) as service:
            page.goto(str(service.client.base_url))
            title = page.get_by_text(_SAMPLE.value, exact=True)
            page.locator("button.sample", has=title).click()
            page.locator("#study").wait_for(state="visible", timeout=120_000)
            _show_most_suspicious(page)
            _save(page, "page.jpg")
        page.goto(report.as_uri())
        _save(page, "report.jpg")
        browser.close()


def _show_most_suspicious(page: Any) -> None:
    """Shows the slice with the highest probability, with its heat map."""
    page.locator(f"#summary tr[data-class={_SAMPLE.value}] button").click()
    page.locator("#heat-toggle").click()
    drawn = page.locator("#note-heat").filter(has_not_text="computing")
    drawn.wait_for(state="visible", timeout=120_000)
    page.locator(".findings").evaluate("element => element.scrollTo(0, 0)")


def _save(page: Any, name: str) -> None:
    path = Path(_OUT_DIR.value) / name
    page.screenshot(path=path, type="jpeg", quality=_QUALITY)
    print(path)


if __name__ == "__main__":
    command.run(main, __doc__)
