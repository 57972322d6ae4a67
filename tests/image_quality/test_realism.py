"""The command: phantoms beside other scans, and folders that hold no head."""

import html
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import ConfigError, InputError
from ich_tf.image_quality.config import RealismConfig
from ich_tf.image_quality.realism import measure_realism
from ich_tf.image_quality.table import text_table
from tests.support.commands import run
from tests.support.dicom_files import make_dicom
from tests.support.ring_head import PIXEL_MM, ring_head

REAL = os.environ.get("ICH_TF_REAL_DICOM", "")


def write_heads(folder: Path, patients: int, noise_hu: float, slices: int = 2) -> Path:
    """Writes ring heads as DICOM files, two slices each."""
    folder.mkdir()
    for patient in range(patients):
        hu = ring_head(noise_hu=noise_hu, slices=slices, seed=patient)
        for number, plane in enumerate(hu):
            uid = f"1.2.826.0.1.{patient + 1}"
            tags = {
                "PatientID": f"P{patient}",
                "StudyInstanceUID": uid,
                "SeriesInstanceUID": f"{uid}.1",
                "SOPInstanceUID": f"{uid}.1.{number + 1}",
                "PixelSpacing": [str(PIXEL_MM)] * 2,
                "ImagePositionPatient": ["-80", "-80", str(5.0 * number)],
            }
            stored = np.rint(plane + 1024).astype(np.int16)
            (folder / f"{patient}_{number}.dcm").write_bytes(make_dicom(stored, tags=tags))
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("heads")
    return {
        "quiet": write_heads(root / "quiet", 1, 3.0),
        "loud": write_heads(root / "loud", 2, 8.0),
    }


def test_report_and_json_hold_what_the_table_does(heads: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    (heads["quiet"] / "notes.txt").write_text("no scan")
    config = RealismConfig(
        phantoms=str(heads["loud"]), real=str(heads["quiet"]), out=str(out), num_workers=1
    )
    result = measure_realism(config)
    assert (len(result.phantoms), len(result.real)) == (2, 1)
    content = json.loads(out.with_suffix(".json").read_text())
    noise = content["statistics"]["Noise and sharpness"]["noise_hu"]
    assert noise["phantoms"] == pytest.approx(8.0, rel=0.1)
    assert noise["real"] == pytest.approx(3.0, rel=0.1)
    assert noise["verdict"] == "apart"
    assert content["patches"]["brain"]["auc"] > 0.9
    page = out.read_text()
    assert "held-out AUC" in page
    assert "between the slices of the real series" in page
    assert html.escape(content["summary"]).replace("&#x27;", "&#39;") in page
    assert "noise_hu" in text_table(result)
    # What was not compared is told.
    assert content["left_out"] == {"phantoms": {}, "real": {"NOT_DICOM": 1}}
    for text in (page, text_table(result)):
        assert "Left out of --real (files, slices or series): NOT_DICOM: 1" in text


@pytest.mark.parametrize("side", ["phantoms", "real"])
def test_folders_without_a_head_are_one_paragraph(
    heads: dict[str, Path], side: str, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.dcm").write_bytes(make_dicom())
    empty = tmp_path / "text"
    empty.mkdir()
    (empty / "a.txt").write_text("no DICOM file")
    for folder, message in (
        (flat, f"--{side}={flat}: none of 1 series shows a head (no brain in it: 1)"),
        (empty, rf"--{side}={empty}: holds no CT series (NOT_DICOM: 1)"),
    ):
        paths = {name: str(heads["quiet"]) for name in ("phantoms", "real")} | {side: str(folder)}
        with pytest.raises(InputError) as error:
            measure_realism(RealismConfig(**paths, num_workers=1, out=str(tmp_path / "o.html")))
        assert message in str(error.value)
        assert not (tmp_path / "o.html").exists()


def test_a_report_without_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    config = RealismConfig(phantoms="x", real="y", out=str(tmp_path / "none" / "r.html"))
    with pytest.raises(InputError, match="there is no folder"):
        measure_realism(config)
    (tmp_path / "r.json").mkdir()
    config = RealismConfig(phantoms="x", real="y", out=str(tmp_path / "r.html"))
    with pytest.raises(InputError, match=r"r\.json: is a folder"):
        measure_realism(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("out", "report.txt"), ("series", "sharpness=2"), ("max_series", 0), ("real", "")],
)
def test_options_that_are_wrong_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field.replace("_", ".")):
        RealismConfig(**{field: value})


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="ICH_TF_REAL_DICOM is not set")
def test_the_command_with_a_real_head(heads: dict[str, Path], tmp_path: Path) -> None:
    done = run(
        "tools.realism",
        f"--phantoms={heads['loud']}",
        f"--real={Path(REAL) / 'ge_head'}",
        f"--out={tmp_path / 'r.html'}",
    )
    assert "2 phantom series, 1 real series" in done.stdout
    assert "Patches of brain: held-out AUC" in done.stdout
