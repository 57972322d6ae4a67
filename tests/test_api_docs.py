"""The examples of the HTTP API in docs/serving.md run as they are written there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_tf.dicom.reader import read_slice
from tests.support.commands import ROOT
from tests.support.made_up import make_run
from tests.support.serving import running

DOCS = ROOT / "docs/serving.md"
HEADING = "## The HTTP API"


def test_every_example_runs(phantom_dir: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    source, away = tmp_path / "source", tmp_path / "away"
    source.mkdir()
    away.mkdir()
    study = ""
    for path in sorted((phantom_dir / "stage_2_test").glob("*.dcm")):
        found = read_slice(path.read_bytes()).header.study_id
        study = study or found
        if found == study:
            shutil.copy(path, source)
    text = DOCS.read_text("utf-8").split(HEADING)[1]
    examples = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) > 5
    with running(make_run(tmp_path / "w", 32, 1), tmp_path / "state") as client:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", "".join(examples)],
            cwd=away,
            env={
                **os.environ,
                # The examples call python3, which an environment always has.
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "SERVER": str(client.base_url),
                "DICOM_DIR": str(source),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert client.get("/metrics").text.count("ich_tf_studies_total{") == 1
    assert "done None" in done.stdout and '"NO_STUDY"' in done.stdout
    assert 'ich_tf_studies_total{outcome="done"} 1.0' in done.stdout
    table = pd.read_csv(away / "results.csv")
    assert len(table) == len(list(source.glob("*.dcm")))
    assert len(np.fromfile(away / "pixels.bin", "<i2")) == 64 * 64
    assert len(np.fromfile(away / "heat.bin", np.uint8)) == 64 * 64
    for name in ("report.dcm", "heat-map.dcm"):
        assert pydicom.dcmread(away / name).StudyInstanceUID
