"""Series that a conversion takes and leaves out: records, quarantine, counts, reruns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert, too_many_bad
from ich_tf.conversion.dry_run import estimate
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.plan import load_plan, save_plan
from ich_tf.conversion.verification import verify
from ich_tf.errors import ConfigError
from ich_tf.records.manifest import Manifest
from ich_tf.records.schema import SliceRecord
from tests.support.conversions import files_of, slice_records_of
from tests.support.ct_study import KINDS, write_study
from tests.support.dicom_files import make_dicom

# The perfusion map holds no Hounsfield units, and is left out with that reason.
NUM_SLICES = sum(len(places) for kind, (_, places) in KINDS.items() if kind != "perfusion")


def config_of(source: Path, out_dir: Path, **changes: object) -> ConversionConfig:
    values = {"labels_csv": "", "image_size": 16, "num_workers": 1, "shard_mb": 1}
    return ConversionConfig(dicom_dir=str(source), out_dir=str(out_dir), **{**values, **changes})


def quarantine(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


def test_best_takes_the_series_that_a_radiologist_opens_first(study: Path, tmp_path: Path) -> None:
    config = config_of(study, tmp_path / "out")
    result = convert(config)
    assert result.num_records == 6
    paths = {line["path"] for line in quarantine(tmp_path / "out")}
    kept = sorted(path.name for path in study.iterdir() if path.name not in paths)
    assert kept == [f"P1_repeat_{k:02}.dcm" for k in range(6)]
    assert [record.slice_index for record in slice_records_of(tmp_path / "out")] == list(range(6))


def test_what_is_not_chosen_is_listed_and_not_bad(study: Path, tmp_path: Path) -> None:
    config = config_of(study, tmp_path / "out", max_bad_fraction=0.06)
    result = convert(config)
    num_others = NUM_SLICES - 6
    lines = [line for line in quarantine(tmp_path / "out") if line["stage"] == "plan"]
    assert {line["reason"] for line in lines} == {"SERIES_NOT_CHOSEN"}
    assert len(lines) == num_others == result.num_not_chosen
    assert all("--series=all" in line["message"] for line in lines)
    assert result.rejections == {"NOT_HOUNSFIELD": 6}
    assert too_many_bad(result.rejections, result.num_inputs, config) is None
    assert f"not chosen by --series: {num_others} slices" in result.report()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["quarantine"] == {"NOT_HOUNSFIELD": 6}
    assert manifest["num_not_chosen"] == num_others
    chosen = [row for row in manifest["series"] if not row["why_not"]]
    assert [(row["kernel"], row["thickness_mm"], row["num_slices"]) for row in chosen] == [
        ("soft", 5.0, 6)
    ]
    assert sum(row["num_slices"] for row in manifest["series"]) == num_others + 6
    report = (tmp_path / "out/report.html").read_text()
    assert "has a sharper kernel" in report
    assert not verify(tmp_path / "out", full=True)


def test_all_takes_every_series_each_pass_whole(study: Path, tmp_path: Path) -> None:
    result = convert(config_of(study, tmp_path / "out", series="all"))
    assert result.num_records == NUM_SLICES
    assert {line["reason"] for line in quarantine(tmp_path / "out")} == {"NOT_HOUNSFIELD"}
    by_series: dict[str, list[SliceRecord]] = {}
    for record in slice_records_of(tmp_path / "out"):
        by_series.setdefault(record.series_key, []).append(record)
    assert len(by_series) == len(KINDS) - 1
    for members in by_series.values():
        places = [record.z_mm for record in members]
        assert places == sorted(set(places))


def test_an_expression_takes_all_that_fulfil_it(study: Path, tmp_path: Path) -> None:
    expression = "kernel=soft,origin=original,contrast!=yes,pass=1"
    result = convert(config_of(study, tmp_path / "out", series=expression))
    assert result.num_records == 6 + 26
    assert "does not fulfil kernel=soft" in (tmp_path / "out/quarantine.jsonl").read_text()


def test_wrong_expressions_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="series is 'kernel=hard'"):
        config_of(tmp_path, tmp_path / "out", series="kernel=hard")


def test_a_dry_run_counts_them_apart(study: Path, tmp_path: Path) -> None:
    text = estimate(config_of(study, tmp_path / "out")).report()
    assert "not chosen by --series" in text
    assert "would be left out: SERIES_NOT_CHOSEN" not in text


def test_the_choice_is_of_the_labelled_slices(tmp_path: Path) -> None:
    paths = write_study(tmp_path / "in", ("standard", "bone"))
    rows = [
        f"{path.stem}_{name},0\n"
        for path in paths["bone"]
        for name in (
            "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any",
        )
    ]  # fmt: skip
    for patient in ("P2", "P3"):
        for path in write_study(tmp_path / "in", ("standard",), patient=patient)["standard"]:
            rows += [row.replace(paths["bone"][0].stem, path.stem) for row in rows[:6]]
    (tmp_path / "labels.csv").write_text("ID,Label\n" + "".join(rows))
    config = config_of(
        tmp_path / "in",
        tmp_path / "out",
        labels_csv=str(tmp_path / "labels.csv"),
        num_folds=2,
        test_fraction=0.0,
    )
    assert convert(config).num_records == 18


def test_a_rerun_with_new_series_equals_a_fresh_one(tmp_path: Path) -> None:
    for patient in ("P1", "P2", "P3"):
        write_study(tmp_path / "in", ("thin",), patient=patient)
    convert(config_of(tmp_path / "in", tmp_path / "out"))
    write_study(tmp_path / "in", ("standard", "bone"), patient="P2")
    result = convert(config_of(tmp_path / "in", tmp_path / "out"))
    assert (result.num_records, result.num_not_chosen) == (26 + 6 + 26, 26 + 6)
    convert(config_of(tmp_path / "in", tmp_path / "fresh"))
    incremental, fresh = files_of(tmp_path / "out"), files_of(tmp_path / "fresh")
    assert incremental == fresh


def test_folders_of_schema_version_2_are_read(study: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    convert(config_of(study, out_dir))
    path = out_dir / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 2'))
    assert Manifest.load(out_dir).shards
    plan, source = load_plan(out_dir)
    rows = [row[:6] for row in json.loads(plan.shards[0].series[0].packed)]
    old = replace(plan.shards[0].series[0], packed=json.dumps(rows, separators=(",", ":")))
    shards = (replace(plan.shards[0], series=(old,)),)
    save_plan(out_dir, replace(plan, shards=shards, kinds=()), source)
    plan, _ = load_plan(out_dir)
    assert [slice_.slice_index for slice_ in plan.shards[0].slices()] == list(range(6))
    assert find_slice(out_dir, "P1_repeat_03.dcm").describe()["kernel"] == "soft"


def test_records_say_what_they_are(study: Path, tmp_path: Path) -> None:
    convert(config_of(study, tmp_path / "out", series="all"))
    kinds = {
        (record.kernel, record.thickness_mm, record.contrast, record.origin, record.content)
        for record in slice_records_of(tmp_path / "out")
    }
    assert kinds == {
        ("soft", 5.0, "unknown", "original", "axial"),
        ("sharp", 5.0, "unknown", "original", "axial"),
        ("soft", 1.0, "unknown", "original", "axial"),
        ("soft", 1.0, "yes", "original", "axial"),
        ("soft", 5.0, "unknown", "derived", "average"),
        ("unknown", 5.0, "unknown", "derived", "mip"),
    }
    features = json.loads((tmp_path / "out/features.json").read_text())
    assert "ct/kernel" in features["featuresDict"]["features"]


def test_best_of_a_real_study(real_dicom: Path, tmp_path: Path) -> None:
    result = convert(config_of(real_dicom / "philips_study", tmp_path / "out"))
    assert result.num_records == 28
    assert {record.spacing_mm for record in slice_records_of(tmp_path / "out")}


def test_one_series_uid_of_two_patients_and_two_studies_is_three_series(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, (patient, study) in enumerate((("A", "1.1"), ("B", "1.1"), ("B", "1.2"))):
        for place in range(3):
            tags = {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": "1.9"}
            tags |= {"SOPInstanceUID": f"1.3.{number}.{place}"}
            tags |= {"ImagePositionPatient": [0, 0, 5 * place]}
            name = f"{number}{place}.dcm"
            (tmp_path / "in" / name).write_bytes(make_dicom(tags=tags))
    convert(config_of(tmp_path / "in", tmp_path / "out"))
    places: dict[str, list[int]] = {}
    for record in slice_records_of(tmp_path / "out"):
        places.setdefault(record.series_key, []).append(record.slice_index)
    assert list(places.values()) == [[0, 1, 2]] * 3
