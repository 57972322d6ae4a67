"""Tables with labels of exams: read as what they plainly mean, or refused in words."""

from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import UsageError
from ich_tf.labels import ANY, CLASSES, ExamTable, LabelError, read_exam_table

NAN = float("nan")


def read(tmp_path: Path, *lines: str, readers: str = "majority") -> ExamTable:
    path = tmp_path / "exams.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_exam_table(path, readers=readers)


def wide(*rows: str, key: str = "StudyInstanceUID") -> list[str]:
    return [f"{key},{','.join(CLASSES)}", *rows]


@pytest.mark.parametrize(
    "key",
    ["StudyInstanceUID", "Series", "patient_id", "name", "Folder", "exam", "AccessionNumber", "ID"],
)
def test_a_wide_table_with_a_row_an_exam(tmp_path: Path, key: str) -> None:
    table = read(tmp_path, *wide("1.2,0,0,0,0,1,1", "1.3,0,0,0,0,0,0", key=key))
    assert table.keys == ["1.2", "1.3"]
    np.testing.assert_array_equal(table.values, [[0, 0, 0, 0, 1, 1], [0] * 6])
    assert table.lines.tolist() == [2, 3]
    assert table.classes_told == CLASSES
    assert table.agreement is None
    assert not table.conflicts


def test_a_long_table_may_leave_rows_out(tmp_path: Path) -> None:
    table = read(tmp_path, "study,Label", "a_any,1", "b_any,0", "a_subdural,0", "c_d_SDH,1")
    assert table.keys == ["a", "b", "c_d"]
    np.testing.assert_array_equal(table.values, [[NAN] * 4 + [0, 1], [0] * 6, [NAN] * 4 + [1, 1]])
    assert table.classes_told == ("subdural", "any")


def test_any_alone_leaves_subtypes_unknown_where_it_is_1(tmp_path: Path) -> None:
    table = read(tmp_path, "patient,any,age", "p1,1,70", "p2,0,3")
    np.testing.assert_array_equal(table.values, [[NAN] * 5 + [1], [0] * 6])
    assert table.classes_told == ("any",)


@pytest.mark.parametrize("word", ["", "NaN", "-1", "-1.0", "unknown", " Unknown ", "n/a", "?"])
def test_an_unknown_label_is_never_0(tmp_path: Path, word: str) -> None:
    table = read(tmp_path, *wide(f"a,{word},0,0,0,0,1", "b,0,0,0,0,0,0"))
    np.testing.assert_array_equal(table.values[0], [NAN, 0, 0, 0, 0, 1])


def test_what_follows_from_known_labels_is_filled_in(tmp_path: Path) -> None:
    lines = wide("a,,,,,1,", "b,,,,,,0", "c,0,0,0,0,0,", "d,,0,0,0,0.4,", "e,,0,0,0,0.6,")
    np.testing.assert_array_equal(
        read(tmp_path, *lines).values,
        [
            [NAN, NAN, NAN, NAN, 1, 1],
            [0] * 6,
            [0, 0, 0, 0, 0, NAN],  # a bleed may be of no subtype
            [NAN, 0, 0, 0, 0.4, NAN],
            [NAN, 0, 0, 0, 0.6, 0.6],
        ],
    )


def test_without_any_it_is_the_greatest_of_five_known_subtypes(tmp_path: Path) -> None:
    table = read(tmp_path, "exam,EDH,IPH,IVH,SAH,SDH", "a,0,0,0,0,0", "b,0,.25,0,0,0", "c,,0,0,0,0")
    np.testing.assert_array_equal(table.values[:, 5], [0, 0.25, NAN])


def test_a_soft_table_keeps_its_shares(tmp_path: Path) -> None:
    table = read(tmp_path, *wide("a,0,0.333,0,0,0.667,0.667"))
    np.testing.assert_array_equal(table.values, [[0, 0.333, 0, 0, 0.667, 0.667]])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x,0,0,0,0,1,0", "subdural is 1 with any = 0"),
        ("x,0,0.5,0,0,0,0.25", "intraparenchymal is 0.5 with any = 0.25"),
        ("x,,,,,,", "all of its labels are unknown"),
        ("a,0,0,0,0,0,0", "its rows for subdural disagree"),
    ],
)
def test_a_faulty_exam_is_named_with_what_is_wrong(tmp_path: Path, row: str, words: str) -> None:
    table = read(tmp_path, *wide("a,0,0,0,0,1,1", "b,0,0,0,0,0,0", row))
    assert table.conflicts == {row[0]: words}
    assert table.conflict_lines == {row[0]: 4 if row[0] == "x" else 2}
    assert table.keys == ["b"] if row[0] == "a" else ["a", "b"]
    assert len(table.values) == len(table.lines) == len(table.keys)


def test_the_log_counts_labels_of_exams_that_are_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    read(tmp_path, *wide("a,,,,,,1", "x,0,0,0,0,0,1", "x,0,0,0,0,0,0"))
    assert "2 exams, 1 of them faulty or unknown; of the others 1 labels are known" in caplog.text


def test_equal_rows_of_an_exam_are_one_and_may_complete_each_other(tmp_path: Path) -> None:
    table = read(tmp_path, *wide("a,0,0,0,0,1,1", "a,0,0,0,0,1,1", "b,0,,0,0,0,1", "b,,1,0,0,0,1"))
    assert table.keys == ["a", "b"]
    np.testing.assert_array_equal(table.values[1], [0, 1, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            wide("a,0,0,0,0,1.5,1"),
            r"1 labels are outside \[0, 1\], the first 'a with 1.5' in line 2",
        ),
        (wide("a,0,0,0,0,-2,1"), "the first 'a with -2' in line 2"),
        (wide("a,0,0,0,0,maybe,1"), "the first 'a with maybe' in line 2"),
        (wide("a,,,,,,", "b,-1,-1,-1,-1,-1,nan"), "all labels of its 2 exams are unknown"),
        (["study,age", "a,70"], "without a column of a class"),
        (["study,age,Label", "a,70,1"], "without a column of a class"),
        (["age,any", "70,1"], "with 0 columns that name an exam"),
        (["study,patient,any", "a,p,1"], "with 2 columns that name an exam"),
        (["study,any,ICH", "a,1,1"], "two columns of one class, 'any' and 'ICH'"),
        (["study,R1:SDH,r1:subdural", "a,1,1"], "two columns of one class"),
        (["name,R1:ICH,R2:ICH,any", "a,1,1,1"], r"columns of readers \(R1:ICH\) and of nobody"),
        (["name,R1:ICH", "a,0.5"], "neither 0 nor 1, the first 0.5 of a by R1:any"),
        (["study,Label", "a,1"], "ids do not end in a class"),
        (["study,any"], "has no rows"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        read(tmp_path, *lines)
    assert str(caught.value).startswith(f"{tmp_path / 'exams.csv'}: ")


def test_an_unknown_way_to_join_readers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'mean'; expected one of majority, all"):
        read(tmp_path, "name,any", "a,1", readers="mean")


READS = (
    "name,R1:SDH,R1:ICH,R2:SDH,R2:ICH,R3:SDH,R3:ICH",
    "all,1,1,1,1,1,1",
    "two,1,1,1,1,0,0",
    "one,1,1,0,0,,0",
    "tie,0,1,,,0,0",
    "none,0,0,0,0,0,0",
)


def test_the_majority_of_readers_who_say_anything(tmp_path: Path) -> None:
    table = read(tmp_path, *READS)
    assert table.keys == ["all", "two", "one", "tie", "none"]
    np.testing.assert_array_equal(table.values[:, 4:], [[1, 1], [1, 1], [0, 0], [0, NAN], [0, 0]])


def test_shares_of_readers_are_soft_labels(tmp_path: Path) -> None:
    table = read(tmp_path, *READS, readers="all")
    np.testing.assert_allclose(
        table.values[:, 4:], [[1, 1], [2 / 3, 2 / 3], [1 / 3, 1 / 3], [0, 1 / 2], [0, 0]]
    )


def test_subtypes_follow_reader_by_reader(tmp_path: Path) -> None:
    # R3 says no bleed, so no subdural one, though the cell is empty.
    table = read(tmp_path, "name,R1:SDH,R1:ICH,R2:SDH,R2:ICH,R3:SDH,R3:ICH", "a,1,,0,1,,0")
    np.testing.assert_array_equal(table.values[0, 4:], [0, 1])
    assert table.agreement is not None
    assert table.agreement.exams[4:] == (1, 1)


def test_a_reader_who_contradicts_himself_is_named(tmp_path: Path) -> None:
    table = read(tmp_path, *READS, "odd,1,0,0,0,0,0")
    assert table.conflicts == {"odd": "reader R1: subdural is 1 with any = 0"}
    table = read(tmp_path, *READS, "all,1,1,1,1,0,1")
    assert table.conflicts == {"all": "its rows for R3:subdural disagree"}


@pytest.mark.parametrize(
    "name", ["reader1_{}", "Reader 1: {}", "R1.{}", "rater-1_{}", "observer 1 : {}"]
)
def test_names_of_readers(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, f"name,{name.format('SDH')},{name.format('any')}", "a,0,1")
    np.testing.assert_array_equal(table.values[0, 4:], [0, 1])


@pytest.mark.parametrize(
    "columns", ["acute:SDH,chronic:SDH", "left:SDH,right:SDH", "R1:SDH,Anna:SDH"]
)
def test_a_part_of_a_finding_is_no_reader(tmp_path: Path, columns: str) -> None:
    with pytest.raises(LabelError, match="but of no reader, who would be a word and a number"):
        read(tmp_path, f"name,{columns}", "a,1,0")


def test_a_name_of_a_column_may_hold_ends_of_lines(tmp_path: Path) -> None:
    table = read(tmp_path, 'study,"any\n",remark,"more\nof it"', "a,1,x,y", "b,0,,")
    assert table.keys == ["a", "b"]
    assert table.values[:, ANY].tolist() == [1, 0]


def test_no_reader_is_guessed_from_the_name_of_a_finding(tmp_path: Path) -> None:
    table = read(tmp_path, "name,any,chronic_subdural,Fracture", "a,0,1,1")
    assert table.classes_told == ("any",)
    assert table.values[0, 4] == 0
