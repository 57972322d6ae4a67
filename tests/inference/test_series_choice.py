"""Series that a prediction takes and leaves out."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from ich_tf.errors import ConfigError, NothingToPredictError
from ich_tf.inference.config import PredictConfig
from ich_tf.inference.prediction.predict import predict
from ich_tf.labels import CLASSES
from tests.support.ct_study import KINDS, write_study
from tests.support.made_up import make_run
from tests.support.marks import slow

NUM_SLICES = sum(len(places) for kind, (_, places) in KINDS.items() if kind != "perfusion")


@pytest.fixture(scope="module", params=[slow({}), {"neighbours": 3, "crop": "head"}])
def work_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("w"), 16, 1, **request.param)


def config_of(source: Path, work_dir: Path, out: Path, **changes: object) -> PredictConfig:
    values = {"dicom_dir": str(source), "work_dir": str(work_dir), "out_csv": str(out)}
    return PredictConfig(**{**values, "num_workers": 1, **changes})


def images(out: Path) -> list[str]:
    with open(out) as file:
        return sorted({row["ID"].rpartition("_")[0] for row in csv.DictReader(file)})


def rejected(out: Path) -> list[dict]:
    with open(out.with_name(f"{out.stem}_rejected.csv")) as file:
        return list(csv.DictReader(file))


def series_of(out: Path) -> list[dict]:
    return json.loads(out.with_name(f"{out.stem}_series.json").read_text())["series"]


def test_best_is_predicted_and_the_rest_is_listed(work_dir: Path, tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in")
    out = tmp_path / "s.csv"
    result = predict(config_of(tmp_path / "in", work_dir, out))
    assert images(out) == [path.stem for path in paths["repeat"]]
    (only,) = series_of(out)
    assert only["series_id"].endswith("/2")
    assert (result.num_slices, result.num_series) == (6, 1)
    assert (result.num_not_chosen, result.num_rejected) == (NUM_SLICES - 6, 6)
    assert "not chosen by --series" in result.report()
    reasons = Counter(line["reason"] for line in rejected(out))
    assert reasons == {"SERIES_NOT_CHOSEN": NUM_SLICES - 6, "NOT_HOUNSFIELD": 6}
    bone = next(line for line in rejected(out) if "_bone_" in line["path"])
    assert "sharper kernel" in bone["message"]
    assert "--series=all" in bone["message"]


def test_all_predicts_every_pass_for_itself(work_dir: Path, tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("standard", "repeat", "thin"))
    write_study(tmp_path / "alone", ("repeat",))
    out = tmp_path / "s.csv"
    predict(config_of(tmp_path / "in", work_dir, out, series="all"))
    assert len(images(out)) == sum(map(len, paths.values()))
    found = {series["series_id"]: series for series in series_of(out)}
    assert len(found) == 3
    predict(config_of(tmp_path / "alone", work_dir, tmp_path / "a.csv"))
    (alone,) = series_of(tmp_path / "a.csv")
    repeat = found[f"{alone['series_id']}/2"]
    for both in zip(repeat["slices"], alone["slices"], strict=True):
        assert both[0]["image_id"] == both[1]["image_id"]
        for name in CLASSES:
            values = [slice_["probabilities"][name] for slice_ in both]
            assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_a_sample_names_its_images_of_whatever_series(work_dir: Path, tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("standard", "bone"))
    sample = tmp_path / "sample.csv"
    wanted = [paths["bone"][0].stem, paths["standard"][3].stem]
    rows = [f"{image}_{name},0.5\n" for image in wanted for name in CLASSES]
    sample.write_text("ID,Label\n" + "".join(rows))
    result = predict(
        config_of(tmp_path / "in", work_dir, tmp_path / "s.csv", sample_csv=str(sample))
    )
    assert (result.num_prior, result.num_not_chosen) == (0, 0)


def test_copies_of_a_file_are_predicted_alike(work_dir: Path, tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("standard",))["standard"]
    for path in paths[:4]:
        path.with_name(f"copy_{path.name}").write_bytes(path.read_bytes())
    out = tmp_path / "s.csv"
    result = predict(config_of(tmp_path / "in", work_dir, out))
    assert (result.num_slices, result.num_series, result.num_not_chosen) == (10, 1, 0)


def test_conditions_that_nothing_fulfils(work_dir: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "in", ("standard",))
    with pytest.raises(
        NothingToPredictError, match="no series is chosen by --series=kernel=sharp"
    ) as error:
        predict(config_of(tmp_path / "in", work_dir, tmp_path / "s.csv", series="kernel=sharp"))
    assert error.value.reasons == {"SERIES_NOT_CHOSEN": 6}
    with pytest.raises(ConfigError, match="Names are kernel"):
        config_of(tmp_path / "in", work_dir, tmp_path / "s.csv", series="sharp")


def test_best_of_a_real_study(work_dir: Path, real_dicom: Path, tmp_path: Path) -> None:
    result = predict(config_of(real_dicom / "philips_study", work_dir, tmp_path / "s.csv"))
    assert (result.num_slices, result.num_series, result.num_not_chosen) == (28, 1, 60)
    reasons = Counter(line["reason"] for line in rejected(tmp_path / "s.csv"))
    assert reasons["SERIES_NOT_CHOSEN"] == 60
