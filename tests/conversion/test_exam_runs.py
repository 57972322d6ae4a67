"""Runs with labels of exams: continued, grown, repaired, looked into; and those without any."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.dry_run import estimate
from ich_tf.conversion.inspection import find_slice
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import LabelError
from ich_tf.records.dealt_splits import load_splits
from ich_tf.records.manifest import Manifest
from ich_tf.records.tfrecord import read_records
from tests.support.conversions import files_of, slice_records_of
from tests.support.exam_labels import (
    PATIENTS,
    exam_config,
    study_uid,
    write_exam_csv,
    write_slice_csv,
    write_studies,
)
from tests.support.secret_files import write_secret

SUBDURAL, NONE = (0, 0, 0, 0, 1, 1), (0,) * 6


def labels_of(patients: tuple[str, ...] = PATIENTS) -> dict[str, tuple[int, ...]]:
    return {patient: SUBDURAL if int(patient[1:]) % 2 else NONE for patient in patients}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of six patients, a label each, and their conversion in out/; shared."""
    folder = tmp_path_factory.mktemp("exams")
    write_studies(folder / "in")
    convert(config(folder, **labels_of()))
    return folder


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    """`source`, to be changed."""
    return Path(shutil.copytree(source, tmp_path / "set"))


def config(folder: Path, changes: dict | None = None, **labels: tuple) -> ConversionConfig:
    csv = write_exam_csv(folder / "exams.csv", labels, key="patient") if labels else None
    return exam_config(folder, labels_csv=csv or str(folder / "exams.csv"), **(changes or {}))


def test_a_second_run_keeps_every_shard(copy: Path) -> None:
    before = files_of(copy / "out")
    result = convert(config(copy))
    assert result.num_kept == result.num_shards == 2
    # The plan names the folder, which was moved, and _SUCCESS has the plan's hash.
    changed = {name for name, data in files_of(copy / "out").items() if before[name] != data}
    assert changed == {"plan.json", "_SUCCESS"}


def test_a_corrected_label_writes_its_shard_again_and_no_other(copy: Path) -> None:
    splits = load_splits(copy / "out")
    result = convert(config(copy, **{**labels_of(), "P2": SUBDURAL}))
    assert result.num_kept == 1
    assert load_splits(copy / "out") == splits
    assert sum(record.exam_labels == SUBDURAL for record in slice_records_of(copy / "out")) == 24
    assert not verify(copy / "out", full=True)


def test_new_patients_leave_the_others_in_their_folds(copy: Path) -> None:
    splits = load_splits(copy / "out")
    more = (*PATIENTS, "P7", "P8", "P9")
    write_studies(copy / "in", more)
    result = convert(config(copy, **labels_of(more)))
    assert result.num_records == 54
    after = load_splits(copy / "out")
    assert {patient: after[patient] for patient in splits} == splits
    assert not verify(copy / "out", full=True)


def test_labels_of_exams_come_to_a_folder_of_labels_of_slices(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in", PATIENTS[:4])
    slices = {path.stem: NONE for patient in PATIENTS[:4] for path in paths[patient]}
    csv = write_slice_csv(tmp_path / "slices.csv", slices)
    convert(exam_config(tmp_path, labels_csv=csv))
    assert not Manifest.load(tmp_path / "out").has_exams
    splits = load_splits(tmp_path / "out")
    write_studies(tmp_path / "in")
    exams = write_exam_csv(tmp_path / "exams.csv", {"P5": SUBDURAL, "P6": NONE}, key="patient")
    result = convert(exam_config(tmp_path, labels_csv=csv, exam_labels_csv=exams))
    assert (result.num_kept, result.num_records) == (0, 36)
    assert Manifest.load(tmp_path / "out").has_exams
    after = load_splits(tmp_path / "out")
    assert {patient: after[patient] for patient in splits} == splits
    assert not verify(tmp_path / "out", full=True)


def test_a_damaged_shard_is_rebuilt_to_the_same_bytes(copy: Path) -> None:
    before = files_of(copy / "out")
    shard = next((copy / "out").glob("fold-0*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-5])
    found = verify(copy / "out", full=True)
    assert {mismatch.file for mismatch in found} == {shard.name}
    repair(copy / "out", [shard.name], num_workers=1)
    assert files_of(copy / "out") == before


def test_a_changed_label_of_a_record_is_noticed(copy: Path) -> None:
    """The plan's labels are changed under the records."""
    path = copy / "out" / "plan.json"
    plan, root = load_plan(copy / "out")
    shards = tuple(
        replace(shard, series=tuple(replace(one, label_level="study") for one in shard.series))
        for shard in plan.shards
    )
    path.write_text("".join(replace(plan, shards=shards).json_lines(root)))
    words = [mismatch.description for mismatch in verify(copy / "out", full=True)]
    assert sum("differs from the plan in label_level" in text for text in words) == 36


def test_inspection_tells_the_exams_labels(source: Path) -> None:
    trace = find_slice(source / "out", "P1_standard_00")
    described = trace.describe()
    assert described["labels"] is None
    assert described["label_level"] == "patient"
    assert described["exam_labels"]["subdural"] == 1.0
    assert len(described["unknown"]) == 6
    assert "exam_labels      epidural 0, intraparenchymal 0" in trace.report()


def test_the_report_counts_exams(source: Path) -> None:
    text = (source / "out" / "report.html").read_text()
    assert "Of 6 exams, 6 with labels of a patient." in text
    assert "unknown: labels of the exam, or of some classes" in text
    manifest = json.loads((source / "out" / "manifest.json").read_text())
    assert (manifest["exams"]["num_exams"], manifest["exams"]["positive"]["any"]) == (6, 3)
    assert manifest["config"]["label_level"] == "auto"


def test_a_dry_run_shows_keys_beside_series(source: Path, tmp_path: Path) -> None:
    labels = {**labels_of(PATIENTS[:4]), "Q1": NONE}
    csv = write_exam_csv(tmp_path / "exams.csv", labels)
    changes = {"labels_csv": csv, "out_dir": str(tmp_path / "out"), "dry_run": True}
    result = estimate(replace(config(source), **changes))
    assert result.exams == "4 with labels of a patient"
    assert "name nothing: 1, series without a label: 2" in result.side_by_side
    assert any(
        line.split() == ["Q1", "P5", "P5", study_uid("P5"), f"{study_uid('P5')}.2"]
        for line in result.side_by_side.splitlines()
    )
    assert result.num_bytes > 0


def test_under_a_secret_nothing_quotes_a_key(source: Path, tmp_path: Path) -> None:
    write_secret(tmp_path / "key", "0123456789abcdef")
    csv = write_exam_csv(tmp_path / "exams.csv", {**labels_of(PATIENTS[:5]), "SECRET": NONE})
    changes = {"labels_csv": csv, "hash_key_file": str(tmp_path / "key")}
    convert(replace(config(source), out_dir=str(tmp_path / "out"), **changes))
    assert not any(b"SECRET" in content for content in files_of(tmp_path / "out").values())
    (line,) = [
        line
        for line in map(json.loads, (tmp_path / "out" / "quarantine.jsonl").open())
        if line["reason"] == "IMAGE_MISSING"
    ]
    assert line["message"].startswith("line 7 of the label CSV names no")


def test_slabs_have_the_exams_label(tmp_path: Path) -> None:
    """A slab of slices with and without labels: present if one is, absent only if all are known."""
    paths = write_studies(tmp_path / "in", kinds=("thin",))
    slices = {path.stem: NONE for path in (*paths["P1"], *paths["P2"])}
    slices[paths["P1"][0].stem] = SUBDURAL
    slices[paths["P1"][1].stem] = ("",) * 6
    slices[paths["P1"][7].stem] = ("",) * 6
    csv = write_slice_csv(tmp_path / "slices.csv", slices)
    exams = write_exam_csv(tmp_path / "exams.csv", labels_of(PATIENTS[2:]), key="patient")
    convert(exam_config(tmp_path, labels_csv=csv, exam_labels_csv=exams, slab_mm=5.0))
    slabs = slice_records_of(tmp_path / "out")
    assert len(slabs) == 36
    first = [slab for slab in slabs if slab.label_level == "slice" and slab.exam_labels[5] == 1]
    assert [slab.labels_known for slab in first] == [48, 0, 63, 63, 63, 63]
    assert first[0].labels == SUBDURAL
    assert sum(slab.label_level == "patient" for slab in slabs) == 24
    assert not verify(tmp_path / "out", full=True)


def test_copies_of_an_image_are_one_slice_of_the_exam(copy: Path) -> None:
    path = next((copy / "in" / "P1").iterdir())
    shutil.copy2(path, copy / "in" / "P1" / "again.dcm")
    result = convert(config(copy))
    assert (result.num_records, result.rejections) == (36, {"DUPLICATE_IMAGE": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_level": "slice", "exam_labels_csv": "e.csv"}, "label_level"),
        ({"label_level": "scan"}, "label_level"),
        ({"readers": "best"}, "readers"),
    ],
)
def test_options_that_contradict_each_other(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        exam_config(tmp_path, **changes)


def test_a_level_is_of_the_thing_that_the_key_lies_in(source: Path, tmp_path: Path) -> None:
    """A label of patients that is named by the UIDs of their series."""
    rows = {f"{study_uid(patient)}.2": labels for patient, labels in labels_of().items()}
    csv = write_exam_csv(tmp_path / "exams.csv", rows, key="id")
    changes = {"labels_csv": csv, "out_dir": str(tmp_path / "out"), "label_level": "patient"}
    convert(replace(config(source), **changes))
    assert {one.label_level for one in slice_records_of(tmp_path / "out")} == {"patient"}


def test_shares_of_readers_are_kept_and_their_agreement_is_reported(
    source: Path, tmp_path: Path
) -> None:
    head = "name,Category," + ",".join(f"R{k}:{c}" for k in (1, 2, 3) for c in ("ICH", "SDH"))
    rows = [
        f"{patient},B1,1,1,1,{int(k > 2)},0,0" if k % 2 else f"{patient},B1,0,0,0,0,0,0"
        for k, patient in enumerate(PATIENTS, 1)
    ]
    (tmp_path / "reads.csv").write_text("\n".join([head, *rows]) + "\n")
    changes = {"labels_csv": str(tmp_path / "reads.csv"), "out_dir": str(tmp_path / "out")}
    result = convert(replace(config(source), **changes, readers="all"))
    shares = {round(one.exam_labels[5], 3) for one in slice_records_of(tmp_path / "out")}
    assert shares == {0.0, 0.667}
    assert "3 readers (R1, R2, R3):" in result.report()
    assert "Fleiss" in (tmp_path / "out" / "report.html").read_text()
    assert not verify(tmp_path / "out", full=True)
    convert(replace(config(source), **changes, overwrite=True))
    assert {one.exam_labels[5] for one in slice_records_of(tmp_path / "out")} == {0.0, 1.0}


def test_a_share_in_a_csv_of_slices_is_no_label(source: Path, tmp_path: Path) -> None:
    """Where the ids name no exam, the error is that of labels of slices."""
    stems = [path.stem for path in sorted(source.glob("in/*/*.dcm"))]
    csv = write_slice_csv(tmp_path / "l.csv", dict.fromkeys(stems, (0, 0, 0, 0, 0.5, 1)))
    with pytest.raises(LabelError, match="labels are neither 0 nor 1"):
        convert(replace(config(source), labels_csv=csv, out_dir=str(tmp_path / "out")))


def test_a_csv_of_slices_names_no_exam_by_a_likeness(source: Path, tmp_path: Path) -> None:
    """A row without a file, `p-1`, is not taken for the patient P1 where other rows name slices."""
    stems = [path.stem for path in sorted(source.glob("in/*/*.dcm"))]
    labels = {**dict.fromkeys(stems, NONE), "p-1": SUBDURAL}
    csv = write_slice_csv(tmp_path / "l.csv", labels)
    result = convert(replace(config(source), labels_csv=csv, out_dir=str(tmp_path / "out")))
    assert result.rejections == {"IMAGE_MISSING": 1}
    assert not Manifest.load(tmp_path / "out").has_exams


def test_where_all_labels_are_of_slices_nothing_tells_of_exams(tmp_path: Path) -> None:
    paths = write_studies(tmp_path / "in")
    labels = {path.stem: NONE for members in paths.values() for path in members}
    csv = write_slice_csv(tmp_path / "l.csv", labels)
    for level in ("auto", "slice"):
        convert(exam_config(tmp_path, labels_csv=csv, label_level=level, overwrite=True))
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert manifest["schema_version"] == 4
        assert not {"exams"} & set(manifest)
        assert not {"label_level", "readers"} & set(manifest["config"])
        for path in (tmp_path / "out").glob("*"):
            content = path.read_bytes()
            assert not any(word in content for word in (b"exam", b"agreement", b"label_level"))
        for path in (tmp_path / "out").glob("*.tfrecord"):
            assert not any(b"class/known" in payload for payload in read_records(path))


def test_a_folder_of_labels_of_exams_that_name_nothing(source: Path, tmp_path: Path) -> None:
    csv = write_exam_csv(tmp_path / "exams.csv", {"Q1": NONE, "Q2": SUBDURAL})
    changes = {"labels_csv": csv, "out_dir": str(tmp_path / "out")}
    with pytest.raises(InputError, match=r"36 LABEL_MISSING.*--dry_run shows"):
        convert(replace(config(source), **changes))
    with pytest.raises(InputError, match=r"name nothing: 2, series without a label: 6"):
        estimate(replace(config(source), **changes, dry_run=True))


def test_statistics_of_labels_are_checked(copy: Path) -> None:
    sidecar = next((copy / "out").glob("fold-0*.tfrecord.json"))
    content = json.loads(sidecar.read_text())
    content["exams"]["known"][2] += 1
    text = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in content.items())
    sidecar.write_text("{\n" + text + "\n}\n")
    found = [(one.file, one.description) for one in verify(copy / "out", full=True)]
    assert (sidecar.name, "lists other numbers of known labels, or of exams.") in found
    assert np.isfinite(content["exams"]["known"]).all()


def test_a_long_table_of_any_alone_tells_of_exams(source: Path, tmp_path: Path) -> None:
    rows = [f"{patient}_any,{labels[5]}\n" for patient, labels in labels_of().items()]
    (tmp_path / "any.csv").write_text("ID,Label\n" + "".join(rows))
    changes = {"labels_csv": str(tmp_path / "any.csv"), "out_dir": str(tmp_path / "out")}
    convert(replace(config(source), **changes))
    exams = {str(one.exam_labels) for one in slice_records_of(tmp_path / "out")}
    # Of an exam with a bleed the subtypes are unknown; without one they are absent.
    assert exams == {str((float("nan"),) * 5 + (1.0,)), str((0.0,) * 6)}


def test_masks_tell_of_slices_and_labels_of_exams_do_not(copy: Path) -> None:
    """A slice without a label has no class that is absent, but by a mask."""
    (copy / "masks").mkdir()
    bits = np.zeros((16, 16), np.uint8)
    bits[4:8, 4:8] = 1 << 4 | 1 << 5
    cv2.imwrite(str(copy / "masks" / "P1_standard_02.png"), bits)
    convert(config(copy, {"masks_dir": str(copy / "masks"), "overwrite": True}))
    records = slice_records_of(copy / "out")
    assert sorted(record.annotated for record in records) == [0] * 35 + [63]
    assert not verify(copy / "out", full=True)
