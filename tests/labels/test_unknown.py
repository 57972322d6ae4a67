"""Unknown labels of slices: read as unknown, and never as absent."""

import logging
from pathlib import Path

import numpy as np
import pytest

from ich_tf.labels import CLASSES, LabelError, LabelTable, read_label_table, read_labels
from ich_tf.labels.unknown import complete, contradictions

NAN = float("nan")


def read(tmp_path: Path, *lines: str) -> LabelTable:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_label_table(path)


def long(*rows: str) -> list[str]:
    """Of ids and six values, each of which may be empty."""
    lines = ["ID,Label"]
    for row in rows:
        image, *values = row.split(",")
        lines += [f"{image}_{name},{value}" for name, value in zip(CLASSES, values, strict=True)]
    return lines


def wide(*rows: str) -> list[str]:
    return [f"ID,{','.join(CLASSES)}", *rows]


@pytest.mark.parametrize("form", [long, wide])
@pytest.mark.parametrize("word", ["", "nan", "-1", "unknown", "N/A"])
def test_unknown_labels_are_nan(tmp_path: Path, form: object, word: str) -> None:
    lines = [f"a,{word},1,0,0,0,1", "b,0,0,0,0,0,0"]
    table = read(tmp_path, *(long(*lines) if form is long else wide(*lines))).table
    np.testing.assert_array_equal(table.to_numpy(), [[NAN, 1, 0, 0, 0, 1], [0] * 6])
    with pytest.raises(LabelError, match="1 labels are neither 0 nor 1"):
        read_labels(tmp_path / "labels.csv")


def test_a_table_without_unknown_labels_stays_one_of_integers(tmp_path: Path) -> None:
    assert (read(tmp_path, *wide("a,0,0,0,0,1,1")).table.dtypes == "int64").all()


def test_the_log_counts_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(tmp_path, *wide("a,,0,0,0,0,1", "b,0,0,0,0,0,0"))
    assert "1 of 12 labels are unknown" in caplog.text


@pytest.mark.parametrize("lines", [["ID,Label", "a_any,1", "b_any,0"], ["ID,any", "a,1", "b,0"]])
def test_any_alone(tmp_path: Path, lines: list[str]) -> None:
    table = read(tmp_path, *lines)
    np.testing.assert_array_equal(table.table.to_numpy(), [[NAN] * 5 + [1], [0] * 6])
    assert not table.conflicts


def test_what_is_wrong_with_an_image_is_as_where_all_is_known(tmp_path: Path) -> None:
    lines = long("a,,0,0,0,1,0", "b,,0,0,0,0,0", "c,,0,0,0,0,1", "c,,0,0,0,1,1")
    table = read(tmp_path, *lines, "d_any,1", "b_epidural,0")
    assert table.conflicts == {
        "c": "its rows for subdural disagree",
        "d": "it has no row for epidural",
        "a": "a subtype is 1 with any = 0",
    }
    assert table.table.index.tolist() == ["b"]
    assert table.lines.tolist() == [8, 14, 26, 2]


def test_a_row_that_knows_completes_one_that_does_not(tmp_path: Path) -> None:
    table = read(tmp_path, *wide("a,,0,0,0,0,1", "a,1,,0,0,0,1")).table
    np.testing.assert_array_equal(table.to_numpy(), [[1, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (wide("a,,,,,,"), "all labels of its 1 images are unknown"),
        (wide("a,2,0,0,0,0,"), "1 labels are neither 0 nor 1, the first 'a with 2' in line 2"),
        (wide("a,0.5,0,0,0,0,1"), "left empty, or written as -1 or NaN"),
        (["ID,any,subdural", "a,1,1"], "without epidural"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read(tmp_path, *lines)


def test_nothing_known_of_subtypes_leaves_no_any() -> None:
    labels = np.array([[NAN, 0, 0, 0, 0, NAN], [0, 0, 0, 0, 0, NAN], [NAN] * 6])
    np.testing.assert_array_equal(complete(labels), labels)
    completed = complete(labels, is_any_told=False)
    np.testing.assert_array_equal(completed[:, 5], [NAN, 0, NAN])


def test_contradictions_are_told_by_row() -> None:
    labels = np.array([[NAN, 1, 0, 0, 0, 0], [0, NAN, 0, 0, 0, 0], [1, 1, 1, 1, 1, NAN]])
    assert contradictions(labels) == {0: "intraparenchymal is 1 with any = 0"}
