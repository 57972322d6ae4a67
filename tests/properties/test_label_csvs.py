"""Label CSVs, submissions, groups and scores: what is written is read, or refused in words."""

import bz2
import csv
import gzip
import io
import lzma
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.comparison.score_table import read_patients, read_scores
from ich_tf.conversion.mask_matching import MASK_TABLE, read_table
from ich_tf.conversion.nifti_ids import NiftiIds
from ich_tf.errors import InputError
from ich_tf.evaluation.group_table import read_groups
from ich_tf.inference.prediction.submission import check_submission, sample_ids, write_submission
from ich_tf.labels import (
    CLASSES,
    read_exam_table,
    read_label_table,
    read_labels,
    read_labels_and_conflicts,
    read_submission,
    write_long_csv,
)
from ich_tf.runtime import csv_files
from tests.support.strategies import ODD_TEXTS, damaged, file_texts, refused_in_a_paragraph

# Ids as files and UIDs have them; white space around them is none of theirs.
ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
some_ids = st.lists(ids, min_size=1, max_size=4, unique=True)


def sound(row: list[int]) -> list[int]:
    """Labels in which any is 1 where a subtype is."""
    return [*row[:5], max(row)]


label_rows = st.lists(st.sampled_from((0, 1)), min_size=6, max_size=6).map(sound)
forms = st.tuples(
    st.sampled_from((",", ";", "\t", "|")),
    st.sampled_from(("\n", "\r\n")),
    st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16")),
)


def csv_bytes(rows: list[list[Any]], form: tuple[str, str, Any, str]) -> bytes:
    """A CSV as some program writes it."""
    separator, end, quoting, encoding = form
    if sys.version_info < (3, 11):  # whose writer takes no bytes of zero
        rows = [[str(cell).replace("\0", "") for cell in row] for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    return text.getvalue().encode(encoding)


@given(st.data(), some_ids)
@example(None, ["a,b", 'c"d', "e;f", "'g", "=h"])
@example(None, ["NA", "nan", "None", "1", "1.0", "0001", "true"])
@example(None, ["a_b", "_", "__", "\ufeffx", "#"])
@example(None, ["+0.0", "-1", "'+0.0", "+1e5", "-", "+"])
def test_long_labels_come_back(folder: Path, data: st.DataObject | None, names: list[str]) -> None:
    rows = (
        data.draw(st.lists(label_rows, min_size=len(names), max_size=len(names)))
        if data
        else ([[0] * 6] * len(names))
    )
    path = folder / "labels.csv"
    write_long_csv(path, names, np.array(rows))
    for table in (read_labels(path), read_label_table(path).table):
        assert [*table.index] == names
        assert table.to_numpy().tolist() == rows


@given(st.data(), some_ids, forms)
def test_wide_labels_come_back_in_any_form(
    folder: Path, data: st.DataObject, names: list[str], form: tuple[str, str, Any, str]
) -> None:
    rows = data.draw(st.lists(label_rows, min_size=len(names), max_size=len(names)))
    order = data.draw(st.permutations(CLASSES))
    cells = [[row[CLASSES.index(name)] for name in order] for row in rows]
    content = [["image", *order], *([name, *row] for name, row in zip(names, cells, strict=True))]
    path = folder / "labels.csv"
    path.write_bytes(csv_bytes(content, form))
    table = read_labels(path)
    assert [*table.index] == names
    assert table.to_numpy().tolist() == rows
    exams = read_exam_table(path)
    assert exams.keys == names
    assert exams.values.tolist() == rows


probabilities = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@given(st.data(), some_ids)
@example(None, ["a"])
def test_a_submission_comes_back_to_the_bit(
    folder: Path, data: st.DataObject | None, names: list[str]
) -> None:
    rows = {
        name: data.draw(probabilities) if data else [5e-324, 0.1, 1 / 3, 1 - 2**-53, 1, 2**-1074]
        for name in names
    }
    path = folder / "submission.csv"
    row_ids = [f"{name}_{class_}" for name in names for class_ in CLASSES]
    write_submission(path, row_ids, lambda name: np.array(rows[name]))
    table = read_submission(path)
    assert {name: table.loc[name].tolist() for name in names} == rows
    assert [*sample_ids(path)] == row_ids
    assert check_submission(path, path) == []
    scores = read_scores(path, "slice")
    assert scores.ids == tuple(names)
    assert scores.probabilities.tolist() == [*rows.values()]


# --- Any text ---------------------------------------------------------------------------------

headers = st.one_of(
    st.sampled_from(
        (
            "ID,Label",
            "image," + ",".join(CLASSES),
            "StudyInstanceUID,SDH,ich",
            "name,R1:ICH,R1:SDH,R2:ICH,R2:SDH",
            "patient,series,age",
            "id,any,label_any,patient_key",
            "file,patient,series",
        )
    ),
    st.lists(
        st.one_of(st.sampled_from((*CLASSES, "id", "label", "patient", "any", "R1:any")), ids),
        min_size=1,
        max_size=5,
    ).map(",".join),
)
cells = st.one_of(
    st.sampled_from(
        ("0", "1", "", "-1", "0.5", "nan", "a_any", "b_subdural", "1.2.3", " 1 ", "01")
    ),
    st.sampled_from([text for text in ODD_TEXTS if "\ud800" not in text]),
    st.sampled_from(("infinity", "1e0", "0_0", "1_", "\u0661", "+1", "1.", ".0", "0,5", "1e-400")),
    ids,
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A CSV with rows of any cells, or bytes that are none."""
    header = draw(headers).split(",")
    rows = [[draw(cells) for _ in header] for _ in range(draw(st.integers(0, 4)))]
    for row in rows:
        if draw(st.integers(0, 9)) == 0:
            row.append(draw(cells))
        if draw(st.integers(0, 9)) == 0:
            row.pop()
    valid = csv_bytes([header, *rows], draw(forms))
    if draw(st.booleans()):
        return valid
    return draw(st.one_of(damaged(valid), file_texts().map(str.encode), st.binary(max_size=99)))


def score_patients(path: Path) -> Any:
    return read_patients(path, "slice")


READERS: dict[str, Callable[[Path], Any]] = {
    "labels": read_labels,
    "labels with conflicts": read_labels_and_conflicts,
    "unknown labels": read_label_table,
    "exams": read_exam_table,
    "exams, shares": lambda path: read_exam_table(path, readers="all"),
    "submission": read_submission,
    "sample": lambda path: [*sample_ids(path)],
    "check": lambda path: check_submission(path, path),
    "groups": read_groups,
    "scores of slices": lambda path: read_scores(path, "slice"),
    "scores of exams": lambda path: read_scores(path, "exam"),
    "patients": score_patients,
    "masks": lambda path: read_table(path.parent, ["a.nii", "b.nii.gz"]),
    "NIfTI ids": lambda path: NiftiIds.from_csv(str(path)),
}


@pytest.mark.parametrize("name", READERS)
@given(tables())
@example(b"ID,Label\ra_any,1\r")
@example(b"ID,Label\n" + b"a" * 140_000 + b"_any,1\n")
@example(b'ID,Label\n"a_any,1\n')
@example(b"ID,Label\na\0_any,1\n")
@example(b"id,any\n\xff,1\n")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe")
@example(b"id,any\n" + b"\n" * 200 + b'a,"' + b"\n" * 200)
@example(b"id,any\n" + b"9" * 5000 + b"," + b"9" * 5000 + b"\n")
@example(b'ID,Label\n1_,"a\nb",1\n')
@example(b'id,any,label_any,patient\n\n\n1,"a\nb","c\n\nd",3,4\n1,1,1,1\n')
@example(b"image," + ",".join(CLASSES).encode() + b"\na,0,0,0,0,0,0" + b",0" * 3000)
def test_any_table_is_read_or_refused(folder: Path, name: str, content: bytes) -> None:
    path = folder / MASK_TABLE
    path.write_bytes(content)
    with refused_in_a_paragraph(path):
        check(READERS[name](path))


def check(read: Any) -> None:
    """Values that were read are those that a table may have."""
    values = getattr(read, "probabilities", getattr(read, "values", None))
    if isinstance(values, np.ndarray):
        assert values.shape[1] == len(CLASSES)
        assert not (values < 0).any() and not (values > 1).any()
        assert len(values) == len(set(getattr(read, "keys", getattr(read, "ids", ()))))


odd_ones = st.sampled_from(
    ("1", "1.0", "1e0", "+1", "1.", "1_0e-1", "\u0661", "true", "TRUE", "0_1", "1 ", "0x1", "1f")
)


@given(odd_ones)
@example("1_0e-1")
@example("0_1")
@example("\u0661")
def test_only_plain_numbers_are_labels(folder: Path, text: str) -> None:
    path = folder / "labels.csv"
    plain = text.strip().lower() in ("1", "1.0", "1e0", "+1", "1.", "true")
    path.write_text(f"image,{','.join(CLASSES)}\na,0,0,0,0,{text},1\n", "utf-8")
    if plain:
        assert read_labels(path).loc["a"].tolist() == [0, 0, 0, 0, 1, 1]
    else:
        with pytest.raises(ValueError, match="line 2"):
            read_labels(path)


@given(st.lists(st.tuples(*[st.sampled_from((0.0, 1.0, math.nan))] * 6), min_size=1, max_size=5))
def test_order_of_rows_changes_no_exam(folder: Path, rows: list[tuple[float, ...]]) -> None:
    path = folder / "exams.csv"
    lines = [
        f"e{i},{','.join('' if math.isnan(v) else f'{v:g}' for v in row)}"
        for i, row in enumerate(rows)
    ]

    def read(lines: list[str]) -> dict[str, Any] | str:
        path.write_text("\n".join([f"exam,{','.join(CLASSES)}", *lines, ""]))
        try:
            table = read_exam_table(path)
        except ValueError as error:
            return str(error)
        values = np.where(np.isnan(table.values), -1, table.values)
        return {**dict(zip(table.keys, values.tolist(), strict=True)), **table.conflicts}

    assert read(lines) == read(lines[::-1])
    assert read(lines) == read([*lines, *lines]), "rows that repeat and agree"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("start", [b"", b"ID,Label\n", b"ID,Label\na_any,1\n"])
def test_a_line_without_end_is_refused(
    tmp_path: Path, start: bytes, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(pack(start + b"a" * (3 << 20)))
    for read in (read_label_table, read_exam_table, read_submission):
        with pytest.raises(InputError, match="a line of more than 1 MiB"):
            read(path)


def test_an_unpacked_text_has_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_MOST_BYTES", 1 << 20)
    path = tmp_path / "labels.csv"
    path.write_bytes(gzip.compress(b"ID,Label\n" + b"a_any,1\n" * 200_000))
    with pytest.raises(InputError, match="has more than 1 MiB of text"):
        read_label_table(path)
