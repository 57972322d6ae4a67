"""The examples of README and docs/ run as they are written there, and the FAQ quotes messages.

A page's blocks run in their order, in a folder where a small demo has run before; every page needs
that alone, so that each can be tested without the others. `docs/kaggle.md` is run by `.ci/kaggle`
in a clean environment, the HTTP API of `docs/serving.md` by test_api_docs.py, and
`docs/hospital.md` beside an archive by `.ci/gateway`.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ich_tf.dicom import Reason
from ich_tf.dicom.reader import Slice, read_slice
from ich_tf.dicom.series import order
from ich_tf.labels import read_labels
from ich_tf.masks.errors import MaskReason
from ich_tf.windows import PRESETS, Window
from tests.support.commands import ROOT
from tests.support.cq500 import write_cq500, write_mixed
from tests.support.nifti_files import make_nifti, volume_of

# A recipe for seconds, without weights from afar, in place of the real one.
SUBSTITUTES = {
    "@resnet50": "@smoke",
    "@series": "@series --epochs=2 --units=8",
    "@exam": "@smoke --sequence=attention",
}
# And synthetic patients in place of the reader's own.
MINE = {
    "my_dicoms": "stage_2_train",
    "my_labels.csv": "stage_2_train.csv",
    "my_new_dicoms": "stage_2_test",
}
# Blocks of language `console` are not run. Page -> why.
NOT_RUN = {
    "docs/acceptance.md": "needs a site's own scans; acceptance/test_insert_bleeds.py",
    "docs/phantoms.md": "needs real scans; image_quality/ tests the report",
    "docs/pretraining.md": "needs another site's patients; inference/test_few_labels.py",
    "docs/training.md": "needs two hosts; test_multi_worker.py runs two processes",
    "docs/serving.md": "installs packages, and serves until it is stopped; test_serving_command.py",
    "docs/gateway.md": "installs packages, and runs until it is stopped; gateway/test_command.py",
}
ELSEWHERE = {
    "docs/kaggle.md": ".ci/kaggle",
    "docs/serving.md": "test_api_docs.py",
    "docs/hospital.md": ".ci/gateway",
}
API = "## The HTTP API"  # from this heading on, docs/serving.md needs a running server


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Language and text of each block of code, less those that are run elsewhere."""
    text = (ROOT / page).read_text("utf-8").split(API)[0]
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PAGES = [
    "README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]
RUN = [
    page
    for page in PAGES
    if page not in ("docs/kaggle.md", "docs/hospital.md")
    and any(lang in ("sh", "python") for lang, _ in blocks_of(page))
]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    languages = {language for language, _ in blocks_of(page)}
    assert languages <= {"sh", "python", "console", "text"}
    assert ("console" in languages) == (page in NOT_RUN)


def test_pages_have_examples() -> None:
    assert len(RUN) >= 8
    assert all((ROOT / page).is_file() for page in (*NOT_RUN, *ELSEWHERE))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which something like `make demo` has run."""
    away = tmp_path_factory.mktemp("docs")
    # All but what runs make: data/ and runs/ are to be small ones of its own.
    for path in ROOT.iterdir():
        if path.name not in ("data", "runs", ".git"):
            (away / path.name).symlink_to(path)
    for command in (
        "tools.make_phantoms --num_patients=36 --test_fraction=0.1 --matrix=64 --masks",
        "tools.make_phantoms --num_patients=40 --test_fraction=0 --matrix=64 --headers=archive "
        "--followup_fraction=0 --out_dir=data/archive",
        "tools.make_tfrecords",
        "ich_tf.train --flagfile=configs/smoke.flags --work_dir=runs/resnet50",
    ):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=away, check=True)
    for name, phantoms in MINE.items():
        (away / name).symlink_to(away / "data/phantoms" / phantoms)
    write_niftis(away)
    write_cq500(away / "data/archive", away / "cq500")
    write_mixed(away / "data/phantoms", away / "my_slices.csv", away / "my_exams.csv")
    return away


def write_niftis(away: Path) -> None:
    """A patient's volume as NIfTI, and the table that names her."""
    series: dict[str, list[Slice]] = {}
    for path in sorted((away / "data/phantoms/stage_2_train").iterdir()):
        slice_ = read_slice(path.read_bytes())
        series.setdefault(slice_.header.series_id, []).append(slice_)
    members = order(next(iter(series.values())))
    (away / "my_niftis").mkdir()
    (away / "my_niftis/case.nii.gz").write_bytes(make_nifti(*volume_of(members)))
    (away / "my_table.csv").write_text("file,patient\ncase.nii.gz,P1\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_examples_of_a_page_run(page: str, demo: Path) -> None:
    image = read_labels(demo / "data/phantoms/stage_2_train.csv").index[0]
    for language, text in blocks_of(page):
        if language not in ("sh", "python"):
            continue
        for written, small in SUBSTITUTES.items():
            text = re.sub(rf"{written}\b(?!_)", small, text)
        text = text.replace("--id=ID", f"--id={image}")
        # Its targets are there; what they do, other tests do.
        text = re.sub(r"^make ", f"make -n VENV={sys.prefix} ", text, flags=re.MULTILINE)
        here = Path(sys.executable).parent
        run = ["bash", "-eu", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            run,
            cwd=demo,
            env={
                **os.environ,
                "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
                # ich-tf begins elsewhere; it is this checkout that is tested.
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{page}\n{text}\n{done.stdout}\n{done.stderr}"


def texts_of(path: Path) -> set[str]:
    """The string literals of a module, with … in place of what is filled in."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
            found.add("".join(parts))
    return found


def test_the_faq_quotes_messages_that_exist() -> None:
    quotes = re.findall(r"^### `(.*)`$", (ROOT / "docs/faq.md").read_text("utf-8"), re.MULTILINE)
    assert len(quotes) > 20
    messages = [(ROOT / "Makefile").read_text("utf-8")]
    for path in (ROOT / "ich_tf").rglob("*.py"):
        messages += [re.sub(r"%s|%d", "…", text) for text in texts_of(path)]
    for quote in quotes:
        pattern = re.compile(".*?".join(map(re.escape, quote.split("…"))), re.DOTALL)
        assert any(pattern.search(message) for message in messages), quote


def test_every_reason_code_is_explained() -> None:
    text = (ROOT / "docs/conversion.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z][A-Z_]+)`(?: \*)? \| \w", text, re.MULTILINE)
    assert sorted(rows) == sorted(reason.value for reason in Reason)


def test_every_reason_why_a_mask_is_not_used_is_explained() -> None:
    text = (ROOT / "docs/segmentation.md").read_text("utf-8")
    rows = re.findall(r"^\| `(MASK_[A-Z_]+)` \| \w", text, re.MULTILINE)
    assert sorted(rows) == sorted(reason.value for reason in MaskReason)


def test_every_window_is_listed_with_its_numbers() -> None:
    text = (ROOT / "docs/conversion.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert {name: Window(int(center), int(width)) for name, center, width in rows} == PRESETS


def test_every_command_is_listed() -> None:
    text = (ROOT / "docs/index.md").read_text("utf-8")
    commands = set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))
    listed = subprocess.run(
        [sys.executable, "-m", "ich_tf", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert commands == set(re.findall(r"^  ([a-z-]+)  +[A-Z]", listed, re.MULTILINE))
