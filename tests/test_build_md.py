"""BUILD.md's recipes for what is added most: each is applied as it stands there, and used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.tfrecord import read_records
from ich_tf.runtime.files import read_json
from tests.support.commands import ROOT

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "BUILD.md").read_text("utf-8"), re.M | re.S)


def test_every_block_is_a_picture_or_a_change() -> None:
    assert {language for language, _ in BLOCKS} == {"text", "diff"}


def test_a_change_has_fewer_than_ten_lines() -> None:
    changes = [text for language, text in BLOCKS if language == "diff"]
    assert len(changes) == 4
    for text in changes:
        added = [line for line in text.splitlines() if re.match(r"\+(?!\+\+ ).", line)]
        assert 0 < len(added) < 10, text


@pytest.mark.slow
def test_what_is_added_works(tmp_path: Path) -> None:
    away = tmp_path / "checkout"
    for folder in ("ich_tf", "tools", "configs"):
        shutil.copytree(ROOT / folder, away / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for language, text in BLOCKS:
        if language == "diff":
            subprocess.run(
                ["patch", "-p1", "--fuzz=0"], input=text, text=True, cwd=away, check=True
            )

    def run(module: str, *flags: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", module, *flags],
            cwd=away, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    run("tools.make_phantoms", "--out_dir=p", "--num_patients=8", "--matrix=64")
    run(
        "tools.make_tfrecords",
        "--dicom_dir=p/stage_2_train",
        "--labels_csv=p/stage_2_train.csv",
        "--out_dir=t",
        "--image_size=64",
        "--num_folds=2",
        "--windows=brain,cistern,soft",
        "--encoding=png_small",
        "--runner=threads",
    )
    config = read_json(away / "t/manifest.json")["config"]
    assert config["encoding"] == "png_small" and "cistern" in config["windows"]
    record = decode(next(read_records(next((away / "t").glob("fold-0*.tfrecord")))))
    assert record.format == "png_small" and read_image(record).shape == (64, 64, 3)
    run(
        "ich_tf.train",
        "--flagfile=@smoke",
        "--data_dir=t",
        "--work_dir=w",
        "--backbone=my_networks:small",
        "--max_steps_per_epoch=2",
    )
    assert read_json(away / "w/config.json")["backbone"] == "my_networks:small"
    assert (away / "w/best.weights.h5").is_file()
