"""The whole evaluation of a calibrated run: files, page, card; the page in a real browser."""

import base64
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.inference.postprocessing.aggregation import LEVELS
from ich_tf.inference.postprocessing.postprocessing import POINTS
from ich_tf.labels import CLASSES
from ich_tf.records.manifest import Manifest
from tests.support.commands import Command

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


class Page(html.parser.HTMLParser):
    """Collects what a page shows and where it points."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.scripts += tag == "script"
        if tag == "img":
            assert attributes.get("alt")
            self.images.append(attributes["src"])
        self.addresses += [
            attributes[name] for name in ("href", "src", "action") if name in attributes
        ]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(
    run_command, phantom_dir: Path, data_dir: Path, work_dir: Path, tmp_path_factory
) -> Path:
    work_copy = shutil.copytree(work_dir, tmp_path_factory.mktemp("report") / "run")
    flags = (f"--data_dir={data_dir}", f"--work_dir={work_copy}")
    done = run_command("ich_tf.calibrate", *flags, "--method=platt", "--abstain_miss_rate=0.4")
    assert "calibrated by platt" in done.stdout
    groups = work_copy / "groups.csv"
    patients = Manifest.load(data_dir).patients["test"]
    rows = [f"{patient},{'F' if i % 2 else 'M'}" for i, patient in enumerate(sorted(patients))]
    groups.write_text("\n".join(["patient,sex", *rows]))
    done = run_command(
        "ich_tf.evaluate",
        *flags,
        f"--groups_csv={groups}",
        "--bootstrap=50",
        "--prevalence=0.2",
        f"--masks_dir={phantom_dir / 'stage_2_train_masks'}",
    )
    folder = work_copy / "evaluation" / "test"
    assert (folder / "summary.txt").read_text() == done.stdout
    return folder


def test_metrics_hold_every_level_class_and_point(results: Path) -> None:
    metrics = json.loads((results / "metrics.json").read_text())
    assert set(metrics["levels"]) == set(LEVELS) - {"series_model"}
    for level in metrics["levels"].values():
        assert set(level["classes"]) == set(CLASSES)
        for scores in level["classes"].values():
            assert set(scores["points"]) <= set(POINTS)
    assert metrics["levels"]["slice"]["classes"]["any"]["points"]["youden"]["threshold"] > 0
    assert metrics["levels"]["slice"]["classes"]["any"]["prevalence"] == pytest.approx(0.2)
    assert {group["family"] for group in metrics["subgroups"]} >= {
        "subtype",
        "scanner",
        "gantry",
        "distance between slices",
        "area of the bleed in the slice",
        "extent of the bleed along the series",
    }
    assert {(group["level"], group["group"]) for group in metrics["groups"]} == {
        (level, group) for level in ("series_max", "slice") for group in ("all", "F", "M")
    }
    assert "any" in {curve["name"] for curve in metrics["decision_curves"]}
    methods = {result["method"] for result in metrics["localization"] if result["name"] == "any"}
    assert methods == {"integrated_gradients", "gradcam", "centre of the brain"}


def test_the_page_holds_all_it_shows(results: Path) -> None:
    page = Page((results / "report.html").read_text())
    assert page.scripts == 0
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.images) >= 12
    for source in page.images:
        picture = cv2.imdecode(
            np.frombuffer(base64.b64decode(source.split(",", 1)[1]), np.uint8), cv2.IMREAD_UNCHANGED
        )
        assert picture is not None and picture.std() > 0
    for words in (
        "Research only. Not for clinical use.",
        "weighted log loss",
        "sensitivity 0.95",
        "Are the probabilities true?",
        "Do heat maps find the bleed?",
        "Is it worth acting on?",
        "Groups of patients",
        "Abstention",
        "False alarms",
        "area of the bleed in the slice",
    ):
        assert words in page.text


def test_the_card_is_made_from_the_run(results: Path) -> None:
    card = (results / "model_card.md").read_text()
    config = json.loads((results.parents[1] / "config.json").read_text())
    run = json.loads((results.parents[1] / "run.json").read_text())
    metrics = json.loads((results / "metrics.json").read_text())
    for words in (
        "Research only",
        metrics["model"]["sha256"],
        run["data"]["sha256"],
        run["sessions"][0]["versions"]["tensorflow"],
        f"learning_rate={config['learning_rate']}",
        f"{metrics['loss']:.4f}",
        "validated on fold 0",
        "calibrated by platt",
        "## Limits",
        "### CLAIM 2024",
        "### TRIPOD+AI",
        "| `[x]` | 20 | Data partitions |",
        "funding and the role of funders | **blank:** ________ |",
        "groups by sex",
    ):
        assert words in card
    assert card.count("| `[ ]` |") == card.count("**blank:** ________")
    assert len(re.findall(r"^\| `\[[x~ ]\]` \|", card, re.MULTILINE)) == 44 + 52
    assert "&#" not in card and "None" not in card


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_browser_shows_it_without_an_error(results: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1280,3000",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            f"--screenshot={picture}",
            (results / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    page = cv2.imread(str(picture))
    assert page.shape == (3000, 1280, 3)
    # Headings, curves and bars down to its end, not a blank page.
    assert all(part.std() > 5 for part in np.array_split(page, 6))


@pytest.mark.slow
def test_without_masks_report_and_calibration(
    run_command: Command, data_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    done = run_command(
        "ich_tf.evaluate",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        f"--out_dir={tmp_path}",
        "--bootstrap=0",
    )
    assert "Run python -m ich_tf.calibrate" in done.stderr
    assert "None: run" in Page((tmp_path / "report.html").read_text()).text
    assert "undefined" in (tmp_path / "model_card.md").read_text()
    failed = run_command(
        "ich_tf.evaluate",
        f"--data_dir={data_dir}",
        f"--work_dir={work_dir}",
        f"--masks_dir={tmp_path / 'none'}",
        code=1,
    )
    assert "no such folder of masks" in failed.stderr
