"""A submission against its sample: every kind of problem is named."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from ich_tf.inference.prediction.submission import (
    check_submission,
    image_row_ids,
    read_rows,
    sample_ids,
    write_submission,
)
from ich_tf.labels import CLASSES, LabelError, read_submission, write_long_csv
from tests.support.commands import Command

IMAGES = ["ID_b", "ID_a", "ID_c"]
VALUES = np.random.default_rng(0).uniform(size=(3, 6))


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    write_long_csv(path, IMAGES, np.full((3, 6), 0.5))
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "submission.csv"
    write_long_csv(path, IMAGES, VALUES)
    return path


def test_written_in_the_samples_order_it_is_sound(
    sample: Path, sound: Path, tmp_path: Path
) -> None:
    values = dict(zip(IMAGES, VALUES, strict=True))
    path = tmp_path / "written.csv"
    write_submission(path, sample_ids(sample), values.__getitem__)
    assert path.read_bytes() == sound.read_bytes()
    assert check_submission(path, sample) == []
    np.testing.assert_array_equal(read_submission(path).to_numpy(), VALUES)
    write_submission(path, image_row_ids(IMAGES), values.__getitem__)
    assert path.read_bytes() == sound.read_bytes()


def test_any_order_of_the_samples_rows_is_kept(sample: Path, tmp_path: Path) -> None:
    header, *rows = sample.read_text().splitlines()
    mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    sample.write_text("\n".join([header, *mixed]) + "\n")
    values = dict(zip(IMAGES, VALUES, strict=True))
    path = tmp_path / "written.csv"
    write_submission(path, sample_ids(sample), values.__getitem__)
    assert [row_id for row_id, _ in read_rows(path)] == [row.split(",")[0] for row in mixed]
    assert check_submission(path, sample) == []
    np.testing.assert_array_equal(read_submission(path).loc[IMAGES].to_numpy(), VALUES)


def change(path: Path, line: int, text: str | None) -> None:
    lines = path.read_text().splitlines()
    if text is None:
        del lines[line]
    else:
        lines[line] = text
    path.write_text("\n".join(lines) + "\n")


def test_a_missing_row(sample: Path, sound: Path) -> None:
    change(sound, 4, None)
    (problem,) = check_submission(sound, sample)
    assert (problem.kind, problem.count, problem.first) == ("missing", 1, f"ID_b_{CLASSES[3]}")


def test_an_extra_row(sample: Path, sound: Path) -> None:
    sound.write_text(sound.read_text() + "ID_z_any,0.5\n")
    (problem,) = check_submission(sound, sample)
    assert (problem.kind, problem.first) == ("extra", "ID_z_any")


def test_a_doubled_row(sample: Path, sound: Path) -> None:
    lines = sound.read_text().splitlines()
    sound.write_text("\n".join([*lines, lines[-1]]) + "\n")
    (problem,) = check_submission(sound, sample)
    assert (problem.kind, problem.first) == ("doubled", "ID_c_any")


def test_reordered_rows(sample: Path, sound: Path) -> None:
    lines = sound.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    sound.write_text("\n".join(lines) + "\n")
    (problem,) = check_submission(sound, sample)
    assert (problem.kind, problem.count) == ("reordered", 2)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("nan", "not a number"),
        ("", "not a number"),
        ("high", "not a number"),
        ("1.2", "out of range"),
        ("-0.1", "out of range"),
        ("inf", "not a number"),
    ],
)
def test_a_value_that_is_no_probability(value: str, kind: str, sample: Path, sound: Path) -> None:
    change(sound, 6, f"ID_b_any,{value}")
    (problem,) = check_submission(sound, sample)
    assert problem.kind == kind and "ID_b_any" in str(problem)


def test_several_problems_are_all_named(sample: Path, sound: Path) -> None:
    change(sound, 6, "ID_b_any,nan")
    change(sound, 1, "ID_x_any,0.5")
    assert {problem.kind for problem in check_submission(sound, sample)} == {
        "not a number",
        "missing",
        "extra",
    }


def test_the_command_names_the_problems(run_command: Command, sample: Path, sound: Path) -> None:
    flags = (f"--submission_csv={sound}", f"--sample_csv={sample}")
    assert "sound" in run_command("tools.check_submission", *flags).stdout
    change(sound, 6, "ID_b_any,1.2")
    failed = run_command("tools.check_submission", *flags, code=1)
    assert "out of range: 1 rows, the first ID_b_any with 1.2" in failed.stderr


def test_what_cannot_be_read_at_all(sample: Path, sound: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        check_submission(tmp_path / "none.csv", sample)
    change(sound, 0, "id,label")
    with pytest.raises(LabelError, match="the header is 'id,label'"):
        check_submission(sound, sample)
    change(sound, 0, "ID,Label")
    change(sound, 3, "ID_b_any")
    with pytest.raises(LabelError, match="line 4 has 1 values"):
        check_submission(sound, sample)
    change(sample, 2, "ID_b,0.5")
    with pytest.raises(LabelError, match="does not end in a class"):
        list(sample_ids(sample))
    sample.write_text("ID,Label\n")
    with pytest.raises(LabelError, match="no rows"):
        list(sample_ids(sample))


def test_a_sample_may_have_come_by_mail(sample: Path) -> None:
    wanted = list(sample_ids(sample))
    text = sample.read_text()
    for data in (
        gzip.compress(text.encode()),
        text.replace("\n", ",\n").encode(),
        text.replace(",", ";").encode("utf-16"),
        text.replace("\n", "\n ").replace("ID,Label", "id,label").encode(),
    ):
        sample.write_bytes(data)
        assert list(sample_ids(sample)) == wanted
    sample.write_bytes(gzip.compress(text.encode())[:60])
    with pytest.raises(LabelError, match="compressed file that is cut or damaged"):
        list(sample_ids(sample))
    sample.write_text(text.replace("0.5\n", "0.5,x\n"))
    with pytest.raises(LabelError, match="line 2 has 3 values"):
        list(sample_ids(sample))
