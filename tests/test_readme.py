"""Every block of README runs, in its order, where a small demo has run before."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ich_tf.labels import read_labels
from tests.support.commands import ROOT

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
# A recipe for seconds, without weights from afar, in the place of the real one.
SMALL = {"@resnet50": "@smoke"}
# And the synthetic patients in that of the reader's own.
MINE = {
    "my_dicoms": "stage_2_train",
    "my_labels.csv": "stage_2_train.csv",
    "my_new_dicoms": "stage_2_test",
}


def test_every_block_says_what_it_is() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python"}
    assert len(BLOCKS) > 10


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "BUILD.md", "docs/api.md", "docs/kaggle.md"):
        text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text("utf-8"), flags=re.M | re.S)
        headings = re.findall(r"^#+ (.*)$", text, re.M)
        known = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if path.startswith("https://"):
                continue
            assert not path or (ROOT / name).parent.joinpath(path).exists(), f"{name}: {target}"
            assert path or anchor in known, f"{name}: {target}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which something like `make demo` has run."""
    away = tmp_path_factory.mktemp("readme")
    # All but what runs make: data/ and runs/ are to be small ones of its own.
    for path in ROOT.iterdir():
        if path.name not in ("data", "runs", ".git"):
            (away / path.name).symlink_to(path)
    for command in (
        "tools.make_phantoms --num_patients=36 --test_fraction=0.1 --matrix=64 --masks",
        "tools.make_tfrecords",
        "ich_tf.train --flagfile=configs/smoke.flags --work_dir=runs/resnet50",
    ):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=away, check=True)
    for name, phantoms in MINE.items():
        (away / name).symlink_to(away / "data/phantoms" / phantoms)
    return away


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs(number: int, demo: Path) -> None:
    """In the order of the file: later blocks use what earlier ones made."""
    language, text = BLOCKS[number]
    for written, small in SMALL.items():
        text = text.replace(written, small)
    image = read_labels(demo / "data/phantoms/stage_2_train.csv").index[0]
    text = text.replace("--id=ID", f"--id={image}")
    # Its targets are there; what they do, other tests do.
    text = re.sub(r"^make ", f"make -n VENV={sys.prefix} ", text, flags=re.M)
    here = Path(sys.executable).parent
    run = ["bash", "-eu", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        run,
        cwd=demo,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
