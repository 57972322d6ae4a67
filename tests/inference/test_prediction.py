"""Prediction of files: lists, killed runs, heat maps, the files beside a submission."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ich_tf.dicom.header import Header
from ich_tf.errors import InputError
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig, PredictConfig
from ich_tf.inference.prediction.heat_map_pictures import picture_names
from ich_tf.inference.prediction.predict import predict
from ich_tf.inference.prediction.store import PredictionStore, StoredPrediction
from ich_tf.inference.prediction.submission import check_submission
from ich_tf.labels import CLASSES, read_submission
from ich_tf.runtime.files import write_bytes
from tests.support.commands import ROOT, Command


def config(phantom_dir: Path, work_dir: Path, out: Path, **changes) -> PredictConfig:
    values = {
        "dicom_dir": str(phantom_dir / "stage_2_test"),
        "work_dir": str(work_dir),
        "out_csv": str(out),
        "num_workers": 1,
        **changes,
    }
    return PredictConfig(**values)


@pytest.fixture(scope="module")
def plain(phantom_dir: Path, work_dir: Path, tmp_path_factory) -> Path:
    """The submission of an undisturbed prediction."""
    out = tmp_path_factory.mktemp("plain") / "s.csv"
    predict(config(phantom_dir, work_dir, out))
    return out


def test_a_submission_passes_the_validator(phantom_dir: Path, plain: Path) -> None:
    assert check_submission(plain, phantom_dir / "stage_2_sample_submission.csv") == []
    # Nothing is left but what was promised.
    names = {path.name for path in plain.parent.iterdir()}
    assert names == {"s.csv", "s_series.csv", "s_series.json", "s_rejected.csv"}


def test_a_text_list_gives_the_same(
    phantom_dir: Path, work_dir: Path, plain: Path, tmp_path: Path
) -> None:
    source = phantom_dir / "stage_2_test"
    lines = [os.path.relpath(path, tmp_path) for path in sorted(source.glob("*.dcm"))]
    (tmp_path / "list.txt").write_text("# some slices\n\n" + "\n".join(lines) + "\n")
    out = tmp_path / "list.csv"
    sample = phantom_dir / "stage_2_sample_submission.csv"
    predict(
        config(
            phantom_dir,
            work_dir,
            out,
            dicom_dir=str(tmp_path / "list.txt"),
            sample_csv=str(sample),
        )
    )
    assert out.read_bytes() == plain.read_bytes()


def test_batches_and_workers_change_nothing(
    phantom_dir: Path, work_dir: Path, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.csv"
    predict(config(phantom_dir, work_dir, out, batch_size=7, num_workers=2))
    np.testing.assert_allclose(read_submission(out), read_submission(plain), atol=1e-6)


def test_series_are_listed_in_order(phantom_dir: Path, work_dir: Path, plain: Path) -> None:
    content = json.loads(plain.with_name("s_series.json").read_text())
    table = read_submission(plain)
    assert sum(len(one_series["slices"]) for one_series in content["series"]) == len(table)
    rows = pd.read_csv(plain.with_name("s_series.csv"), float_precision="round_trip")
    assert rows["series_id"].tolist() == [
        one_series["series_id"] for one_series in content["series"]
    ]
    for one_series, (_, row) in zip(content["series"], rows.iterrows(), strict=True):
        z_mm = [member["z_mm"] for member in one_series["slices"]]
        assert z_mm == sorted(z_mm)
        of_class = np.array(
            [[member["probabilities"][name] for name in CLASSES] for member in one_series["slices"]]
        )
        ids = [member["image_id"] for member in one_series["slices"]]
        np.testing.assert_array_equal(of_class, table.loc[ids].to_numpy())
        for i, name in enumerate(CLASSES):
            assert one_series["max"][name] == row[name] == of_class[:, i].max()
            assert row[f"slice_{name}"] == of_class[:, i].argmax()
            assert one_series["noisy_or"][name] == pytest.approx(1 - np.prod(1 - of_class[:, i]))
            assert one_series["decisions"][name] is None  # not calibrated
        for member in one_series["slices"]:
            assert (phantom_dir / "stage_2_test" / member["file"]).is_file()


def test_calibration_smoothing_and_prevalence_are_applied(
    phantom_dir: Path, data_dir: Path, work_copy: Path, plain: Path, tmp_path: Path
) -> None:
    calibration = calibrate(
        CalibrateConfig(
            data_dir=str(data_dir),
            work_dir=str(work_copy),
            method="platt",
            smoothing_mm=5.0,
            abstain_miss_rate=0.5,
            abstain_confidence=0.0,
        )
    )
    assert "on average, at most 50.0% of the patients" in calibration.report()
    out = tmp_path / "c.csv"
    result = predict(config(phantom_dir, work_copy, out))
    assert "calibrated by platt" in result.report()
    content = json.loads(plain.with_name("s_series.json").read_text())
    table = read_submission(out)
    raw = read_submission(plain)
    for one_series in content["series"]:
        ids = [member["image_id"] for member in one_series["slices"]]
        z_mm = np.array([member["z_mm"] for member in one_series["slices"]])
        weight = np.exp(-0.5 * ((z_mm[:, None] - z_mm) / 5) ** 2)
        smoothed = weight @ raw.loc[ids].to_numpy() / weight.sum(axis=1, keepdims=True)
        expected = calibration.postprocessing.groups[0].calibrator(
            np.log(smoothed / (1 - smoothed))
        )
        np.testing.assert_allclose(table.loc[ids], expected, atol=1e-6)
    decided = json.loads(out.with_name("c_series.json").read_text())["series"][0]
    threshold = calibration.postprocessing.threshold("series_max", "any")
    assert decided["decisions"]["any"] == (decided["max"]["any"] >= threshold)
    abstention = calibration.postprocessing.abstention
    assert abstention is not None
    answer = abstention.levels["series_max"]["any"].decide(decided["max"]["any"])
    assert decided["abstention"]["any"] == answer
    series_csv = out.with_name("c_series.csv")
    assert pd.read_csv(series_csv)["decision"][0] == answer
    assert "decision" not in pd.read_csv(plain.with_name("s_series.csv"))
    predict(config(phantom_dir, work_copy, out, prevalence=0.01))
    assert "decision" not in pd.read_csv(series_csv)
    rarer = read_submission(out)
    assert (rarer["any"] < table["any"]).all()
    predict(config(phantom_dir, work_copy, out, calibrated=False))
    np.testing.assert_allclose(read_submission(out), raw, atol=1e-6)


def test_heat_maps_of_the_likeliest(phantom_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    raised = config(phantom_dir, work_dir, out, heatmaps=("any", "subdural"), max_heatmaps=3)
    result = predict(raised)
    table = read_submission(out)
    drawn = sorted(path.name for path in (tmp_path / "s_heatmaps").iterdir())
    assert result.num_heatmaps == len(drawn)
    for name in ("any", "subdural"):
        above = table[table[name] >= 0.5].nlargest(3, name)
        drawn_of_class = {file for file in drawn if file.endswith(f"_{name}.png")}
        assert drawn_of_class == {f"{image_id}_{name}.png" for image_id in above.index}
    for file in drawn:
        picture = cv2.imread(str(tmp_path / "s_heatmaps" / file))
        # Five times the slice's 64 px, so that the lines below can be read.
        assert picture.shape[1:] == (320, 3)
        assert picture[320:].max() > 100, "lines of text below"


def test_a_picture_has_a_name_that_a_file_may_have(tmp_path: Path) -> None:
    for name in picture_names({(0, 0): "é" * 300, (1, 0): "é" * 301, (2, 3): "\udce9/3"}).values():
        write_bytes(tmp_path / f"{name}_intraparenchymal.nii.gz", [])
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_run_continues_with_the_same_result(
    phantom_dir: Path, work_dir: Path, plain: Path, tmp_path: Path
) -> None:
    """SIGKILL after some files are stored; the second run predicts only the others."""
    out = tmp_path / "s.csv"
    partial = tmp_path / ".s.partial.sqlite"
    code = (
        "import ich_tf.inference.prediction.store as s; s._SECONDS_BETWEEN_COMMITS = 0\n"
        "import time, ich_tf.inference.prediction.predict as p\n"
        "import ich_tf.inference.slice_predictor as r\n"
        "logits = r.Predictor.logits\n"
        "def slow(self, images): time.sleep(0.3); return logits(self, images)\n"
        "r.Predictor.logits = slow\n"
        "from ich_tf.inference.config import PredictConfig\n"
        f"p.predict(PredictConfig(dicom_dir={str(phantom_dir / 'stage_2_test')!r},"
        f" work_dir={str(work_dir)!r}, out_csv={str(out)!r}, batch_size=4, num_workers=1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    noted, begun = 0, time.monotonic()
    while noted < 8 and process.poll() is None and time.monotonic() - begun < 120:
        time.sleep(0.05)
        if partial.is_file():
            noted = count_done(partial)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists() and noted >= 8
    number = len(read_submission(plain))
    seen = []

    import ich_tf.inference.prediction.reader as reader

    original = reader.read_images
    reader.read_images = lambda task: seen.append(task.source.name) or original(task)
    try:
        predict(config(phantom_dir, work_dir, out, batch_size=4))
    finally:
        reader.read_images = original
    assert 0 < len(seen) <= number - noted
    np.testing.assert_allclose(read_submission(out), read_submission(plain), atol=1e-6)
    assert not partial.exists()


def count_done(path: Path) -> int:
    import sqlite3

    with sqlite3.connect(path) as database:
        try:
            return int(database.execute("SELECT COUNT(*) FROM done").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_the_database_of_another_model_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    store = PredictionStore.open(path, "one")
    store.mark_done([1, 2])
    store.close()
    again = PredictionStore.open(path, "one")
    assert again.num_done() == 2
    again.close()
    other = PredictionStore.open(path, "two")
    assert other.num_done() == 0
    other.close()
    path.write_bytes(b"cut")
    fresh = PredictionStore.open(path, "two")
    assert fresh.num_done() == 0
    fresh.close(remove=True)
    assert not path.exists()


def test_what_the_machine_withheld_is_read_again_by_a_run_that_continues(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = PredictionStore.open(path, "one")
    store.reject(0, 0, "UNREADABLE", "cannot be read.")
    store.reject(1, 0, "NOT_CT", "is an MR.")
    store.mark_done([0, 1])
    store.close()
    again = PredictionStore.open(path, "one")
    assert [again.is_done([source]) for source in (0, 1)] == [False, True]
    assert [source for source, *_ in again.rejected()] == [1]
    again.close()


def test_the_store_keeps_names_and_numbers(tmp_path: Path) -> None:
    header = Header(
        "1.2.3/2", "P\udc81", "S", "R", 4, 4, (1.0, 2.0, 0.1 + 0.2), (1.0, 0, 0, 0, 1.0, 0),
        (0.5, 0.5), frame=2,
    )  # fmt: skip
    values = np.array([1e-300, 0.1, 0.2, 0.3, 0.4, np.pi])
    store = PredictionStore.open(tmp_path / "x.sqlite", "f")
    store.add([StoredPrediction(3, "näme/2", header, values)])
    ((stored,),) = store.by_series()
    assert stored.header == header and stored.image_id == "näme/2" and stored.source == 3
    np.testing.assert_array_equal(stored.values, values)
    store.finish([StoredPrediction(3, stored.image_id, header, values / 10, 12.5)])
    ((done,),) = store.by_series("probabilities")
    assert done.z_mm == 12.5
    for name in ("näme/2", "1.2.3/2"):
        np.testing.assert_array_equal(store.find(name), values / 10)
    assert store.find("other") is None
    assert [stored.image_id for stored in store.likeliest("any", 0.3, 5)] == ["näme/2"]
    assert store.likeliest("any", 0.4, 5) == []
    # A UID before another file's name.
    store.add([StoredPrediction(4, "1.2.3/2", replace(header, image_id="9/2"), values)])
    np.testing.assert_array_equal(store.find("1.2.3/2"), values / 10)
    store.close(remove=True)


def test_bad_lists_are_refused(phantom_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    settings = config(phantom_dir, work_dir, tmp_path / "o.csv", dicom_dir=str(listed))
    listed.write_text("none.dcm\n")
    with pytest.raises(InputError, match="which is no file"):
        predict(settings)
    listed.write_text("# nothing\n")
    with pytest.raises(InputError, match="lists no files"):
        predict(settings)


def test_a_sample_that_is_no_sample_is_refused_before_the_work(
    run_command: Command, phantom_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_text("ID,Label\nID_x_nonsense,0.5\n")
    done = run_command(
        "ich_tf.predict",
        f"--dicom_dir={phantom_dir / 'stage_2_test'}",
        f"--work_dir={work_dir}",
        f"--out_csv={tmp_path / 'o.csv'}",
        f"--sample_csv={sample}",
        code=1,
    )
    assert "does not end in a class" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample.csv"]


def test_a_moved_folder_is_another(phantom_dir: Path, work_dir: Path, tmp_path: Path) -> None:
    """Without a sample the ids are the files' names, in their order."""
    source = tmp_path / "deep" / "er"
    source.mkdir(parents=True)
    for path in sorted((phantom_dir / "stage_2_test").glob("*.dcm"))[:3]:
        shutil.copy(path, source / path.name)
    out = tmp_path / "s.csv"
    predict(config(phantom_dir, work_dir, out, dicom_dir=str(tmp_path / "deep")))
    assert list(read_submission(out).index) == sorted(path.stem for path in source.iterdir())
