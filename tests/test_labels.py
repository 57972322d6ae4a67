"""Label CSVs: what is read, what is refused, and with which message."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from ich_tf.labels import (
    CLASSES,
    LabelError,
    read_labels,
    read_labels_and_conflicts,
    read_submission,
    write_long_csv,
)


def rows(image: str, values: Iterable[object]) -> list[str]:
    return [f"{image}_{name},{value}" for name, value in zip(CLASSES, values, strict=True)]


def write(path: Path, lines: list[str], header: str = "ID,Label") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_duplicate_rows_are_dropped_by_value(tmp_path: Path) -> None:
    lines = rows("ID_a", "000011") + rows("ID_b", "000000") + rows("ID_a", "000011")
    table = read_labels(write(tmp_path / "l.csv", lines))
    assert list(table.index) == ["ID_a", "ID_b"]
    assert tuple(table.columns) == CLASSES
    np.testing.assert_array_equal(table.to_numpy(), [[0, 0, 0, 0, 1, 1], [0] * 6])


def test_any_order_of_rows_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", list(reversed(rows("1.2.840_x", "100001"))))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    np.testing.assert_array_equal(read_labels(path).loc["1.2.840_x"], [1, 0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (rows("ID_a", "000000"), "id,class", "header"),
        (rows("ID_a", "000000"), "index,ID,Label", "header"),
        (["ID_a_any,2", *rows("ID_b", "000000")], "ID,Label", "neither 0 nor 1"),
        (["ID_a_any,", *rows("ID_b", "000000")], "ID,Label", "neither 0 nor 1"),
        (["ID_a_any,nan", *rows("ID_b", "000000")], "ID,Label", "neither 0 nor 1"),
        (rows("ID_a", "000010"), "ID,Label", "any = 0"),
        ([*rows("ID_a", "000011"), "ID_a_any,0"], "ID,Label", "disagree"),
        ([*rows("ID_a", "000011")[:-1], *rows("ID_b", "000000")], "ID,Label", "no row for any"),
        ([*rows("ID_a", "000011"), "ID_a_stroke,0"], "ID,Label", "do not end in a class"),
        ([], "ID,Label", "no rows"),
    ],
)
def test_bad_csvs_are_refused_in_words(
    tmp_path: Path, lines: list[str], header: str, message: str
) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        read_labels(write(tmp_path / "l.csv", lines, header))
    assert "l.csv" in str(caught.value)


def test_conflicts_cost_their_images_alone(tmp_path: Path) -> None:
    lines = [
        *rows("ID_a", "000011"),
        *rows("ID_b", "000011"), "ID_b_subdural,0",
        *rows("ID_c", "100000"),
        *rows("ID_d", "000000")[1:],
        *rows("ID_e", "010001"),
    ]  # fmt: skip
    table, conflicts = read_labels_and_conflicts(write(tmp_path / "l.csv", lines))
    assert list(table.index) == ["ID_a", "ID_e"]
    np.testing.assert_array_equal(table.loc["ID_e"], [0, 1, 0, 0, 0, 1])
    assert conflicts == {
        "ID_b": "its rows for subdural disagree",
        "ID_c": "a subtype is 1 with any = 0",
        "ID_d": "it has no row for epidural",
    }


def test_rows_of_an_image_may_lie_far_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ich_tf.labels.rows._CHUNK_ROWS", 7)
    ids = [f"ID_{i:09x}" for i in range(40)]
    values = np.random.default_rng(0).integers(0, 2, (40, 6))
    values[:, 5] = values.max(axis=1)
    lines = [line for i, row in zip(ids, values.tolist(), strict=True) for line in rows(i, row)]
    order = np.random.default_rng(1).permutation(len(lines))
    shuffled = [lines[i] for i in order]
    table = read_labels(write(tmp_path / "l.csv", shuffled))
    np.testing.assert_array_equal(table.loc[ids].to_numpy(), values)
    assert list(table.index) == list(dict.fromkeys(line[:12] for line in shuffled))
    wrong = [*shuffled, "ID_x_any,3", *rows("ID_y", "000000"), "ID_z_any,4"]
    with pytest.raises(LabelError, match="2 labels are neither 0 nor 1, the first 'ID_x_any with"):
        read_labels(write(tmp_path / "w.csv", wrong))
    with pytest.raises(LabelError, match=f"1 images .* {ids[3]}: its rows for any disagree"):
        read_labels(write(tmp_path / "d.csv", [*shuffled, f"{ids[3]}_any,{1 - values[3, 5]}"]))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01" * 99)
    with pytest.raises(LabelError):
        read_labels(tmp_path / "b.csv")
    (tmp_path / "e.csv").write_bytes(b"")
    with pytest.raises(LabelError):
        read_labels(tmp_path / "e.csv")


def test_a_submission_survives_the_round_trip(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 6))
    ids = [f"ID_{i:09x}" for i in range(5)]
    write_long_csv(tmp_path / "s.csv", ids, values)
    table = read_submission(tmp_path / "s.csv")
    assert list(table.index) == ids
    np.testing.assert_array_equal(table.to_numpy(), values)
    first = (tmp_path / "s.csv").read_text().splitlines()[:2]
    assert first[0] == "ID,Label"
    assert first[1].startswith("ID_000000000_epidural,")


def test_a_submission_holds_probabilities(tmp_path: Path) -> None:
    write_long_csv(tmp_path / "s.csv", ["ID_a"], np.array([[0, 0.5, 1, 0, 0, 1.01]]))
    with pytest.raises(LabelError, match="no probabilities"):
        read_submission(tmp_path / "s.csv")
