"""Whose labels a row of the label CSV holds, by the names of the files and their UIDs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.conversion.label_rows import LabelRows
from ich_tf.conversion.labelling import Labelling
from ich_tf.conversion.matching import LabelMatcher
from ich_tf.conversion.slice_index import IndexedSlice
from ich_tf.dicom.header import Header
from ich_tf.labels import CLASSES, write_long_csv

HEADER = Header("", "P", "1.3", "1.4", 2, 2, (0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1))


def matched(
    files: dict[str, str], ids: list[str], label_key: str = "auto", unusable: tuple[str, ...] = ()
) -> tuple[dict[str, str], list[str]]:
    """File -> id of its row, or the reason why it has none; and the rows that are listed.

    Args:
      files: Name -> SOP instance UID, in the order in which they are read; `UID/2` for a frame.
      ids: Ids of the label CSV; image n has subtype n.
      label_key: What the ids are.
      unusable: Names of files without a slice.
    """
    labels = np.eye(max(6, len(ids)), 6, dtype=np.int64)[: len(ids)]
    labels[:, -1] = labels[:, :-1].max(axis=1)
    table = pd.DataFrame(labels, index=ids, columns=list(CLASSES))
    matcher = LabelMatcher(LabelRows(table), label_key)
    for name in unusable:
        matcher.add_unusable(name)
    headers = {}
    for name, uid in files.items():
        frame = int(uid.partition("/")[2] or 0)
        headers[name] = replace(HEADER, image_id=uid, frame=frame)
        matcher.add_slice(name, headers[name])
    uids = list(files.values())
    images = np.array([uids.index(uid) for uid in uids], np.int64)
    labelling = Labelling(matcher.rows, matcher.match(images), label_key)
    found = {}
    for number, name in enumerate(files):
        slice_ = IndexedSlice(name, headers[name].image_id, None, headers[name])
        problem = labelling.problem(number, slice_)
        row = int(labelling.matches.row[number])
        found[name] = problem.reason if problem else ids[row]
    return found, [f"{one.reason} {one.message}" for one in labelling.rows_without_images()]


@pytest.mark.parametrize(
    ("files", "ids", "expected"),
    [
        # A file's name, with its extension and without, wherever it lies.
        ({"a.dcm": "1", "s/b.dcm": "2"}, ["a", "b.dcm"], ["a", "b.dcm"]),
        # Its UID, its path.
        ({"a.dcm": "1", "s/b.dcm": "2"}, ["1", "s/b"], ["1", "s/b"]),
        # Names that several files have tell them apart by path alone.
        ({"a/I.dcm": "1", "b/I.dcm": "2"}, ["a/I", "b/I.dcm"], ["a/I", "b/I.dcm"]),
        ({"a/I.dcm": "1", "b/I.dcm": "2"}, ["I"], ["LABEL_AMBIGUOUS"] * 2),
        ({"I.dcm": "1", "b/I.dcm": "2"}, ["I.dcm"], ["LABEL_AMBIGUOUS"] * 2),
        ({"I.dcm": "1", "b/I.dcm": "2"}, ["I.dcm", "b/I"], ["I.dcm", "b/I"]),
        ({"a/x.dcm": "1", "a/x.img": "2"}, ["a/x"], ["LABEL_AMBIGUOUS"] * 2),
        ({"a/x.dcm": "1", "a/x.img": "2"}, ["a/x", "a/x.img"], ["a/x", "a/x.img"]),
        # An exact key comes before a cut one, in any order of the files.
        ({"1.2.7": "1.2.7", "z.dcm": "1.2"}, ["1.2"], ["LABEL_MISSING", "1.2"]),
        ({"z.dcm": "1.2", "1.2.7": "1.2.7"}, ["1.2"], ["1.2", "LABEL_MISSING"]),
        ({"case.1": "7", "case.1.dcm": "8"}, ["case.1"], ["case.1", "LABEL_MISSING"]),
        ({"s/c.1": "7", "s/c.2": "8"}, ["c.1", "c.2"], ["c.1", "c.2"]),
        # A dot at the end begins no extension.
        ({"case.": "7"}, ["case"], ["LABEL_MISSING"]),
        # NIfTI's extension has two parts.
        ({"n/vol.1.nii.gz": "7", "m/b.nii": "8"}, ["vol.1", "m/b"], ["vol.1", "m/b"]),
        # A UID before a name: files that were named by each other's UIDs.
        ({"1.5": "1.6", "1.6": "1.5"}, ["1.5", "1.6"], ["1.6", "1.5"]),
        # Copies of one image are not two images.
        ({"a.dcm": "1", "b.dcm": "1"}, ["1"], ["1", "1"]),
        ({"a/x.dcm": "1", "a/x.img": "1"}, ["a/x"], ["a/x", "a/x"]),
        # Frames.
        ({"e.dcm": "1/2"}, ["e/2"], ["e/2"]),
        ({"e.dcm": "1/2"}, ["1/2"], ["1/2"]),
        ({"e.dcm": "1/2"}, ["e"], ["LABEL_MISSING"]),
        # Two rows of one image, of other labels.
        ({"a.dcm": "1"}, ["1", "a"], ["LABEL_CONFLICT"]),
    ],
)
def test_a_row_goes_to_the_image_that_it_names(
    files: dict[str, str], ids: list[str], expected: list[str]
) -> None:
    found, _ = matched(files, ids)
    assert list(found.values()) == expected


@pytest.mark.parametrize(
    ("label_key", "expected"),
    [
        ("uid", ["1.5", "1.6"]),
        ("name", ["1.6", "1.5"]),
        ("path", ["LABEL_MISSING", "1.5"]),
        ("auto", ["1.5", "1.6"]),
    ],
)
def test_the_flag_says_what_an_id_is(label_key: str, expected: list[str]) -> None:
    found, _ = matched({"s/1.6.dcm": "1.5", "1.5": "1.6"}, ["1.5", "1.6"], label_key)
    assert list(found.values()) == expected


@pytest.mark.parametrize("label_key", ["uid", "name"])
def test_a_path_is_none_where_ids_are_uids_or_names(label_key: str) -> None:
    assert matched({"s/a.dcm": "1"}, ["s/a"], label_key)[0] == {"s/a.dcm": "LABEL_MISSING"}


def test_a_file_that_cannot_be_read_is_still_the_one_that_a_row_means() -> None:
    """Its labels go to no other file, and are not listed a second time."""
    found, listed = matched({"1.2.7": "9"}, ["1.2"], unusable=("1.2",))
    assert (found, listed) == ({"1.2.7": "LABEL_MISSING"}, [])
    found, listed = matched({"s/x.dcm": "9"}, ["x"], unusable=("t/x.dcm",))
    assert (found, listed) == ({"s/x.dcm": "LABEL_AMBIGUOUS"}, [])


def test_a_row_without_a_file_is_quoted() -> None:
    found, listed = matched({"a.dcm": "1"}, ["a", "CQ500 7"])
    assert found == {"a.dcm": "a"}
    assert listed == ["IMAGE_MISSING image 2 of the label CSV, 'CQ500 7', has no file."]
    # What looks like an extension is none where the name is in the CSV as it is.
    found, listed = matched({"case.1": "1"}, ["case", "case.1"])
    assert found == {"case.1": "case.1"}
    assert [line.split()[0] for line in listed] == ["IMAGE_MISSING"]


def test_a_row_without_a_file_is_told_of_by_its_line(tmp_path: Path) -> None:
    write_long_csv(tmp_path / "l.csv", ["a", "b"], np.zeros((2, 6), np.int64))
    matcher = LabelMatcher(LabelRows.from_csv(str(tmp_path / "l.csv")))
    labelling = Labelling(matcher.rows, matcher.match(np.zeros(0, np.int64)))
    assert [line.message for line in labelling.rows_without_images()] == [
        "line 2 of the label CSV, 'a', has no file.",
        "line 8 of the label CSV, 'b', has no file.",
    ]


def test_a_row_that_could_mean_files_with_rows_of_their_own_is_listed() -> None:
    found, listed = matched({"a/I.dcm": "1", "b/I.dcm": "2"}, ["a/I", "b/I", "I"])
    assert list(found.values()) == ["a/I", "b/I"]
    assert len(listed) == 1 and "could mean several files" in listed[0]


def test_under_a_secret_a_row_is_not_quoted() -> None:
    table = pd.DataFrame(np.zeros((1, 6), np.int64), index=["Doe, J."], columns=list(CLASSES))
    matcher = LabelMatcher(LabelRows(table))
    labelling = Labelling(matcher.rows, matcher.match(np.zeros(0, np.int64)))
    (line,) = labelling.rows_without_images(b"k" * 16)
    assert "Doe" not in line.path + line.message


def test_faulty_labels_are_a_conflict_wherever_they_are_found() -> None:
    table = pd.DataFrame(np.zeros((1, 6), np.int64), index=["a"], columns=list(CLASSES))
    matcher = LabelMatcher(LabelRows(table, {"b": "it has no row for any"}))
    matcher.add_slice("b.dcm", replace(HEADER, image_id="2"))
    labelling = Labelling(matcher.rows, matcher.match(np.arange(1)))
    problem = labelling.problem(0, IndexedSlice("b.dcm", "2", None, HEADER))
    assert problem is not None
    assert (problem.reason, problem.message) == ("LABEL_CONFLICT", "it has no row for any.")
    assert [line.path for line in labelling.rows_without_images()] != ["b"]


def test_the_row_of_a_frame_that_cannot_be_used_has_a_file() -> None:
    files, ids = {"a.dcm": "1/1"}, ["a/1", "a/2"]
    assert matched(files, ids, unusable=("a.dcm#2",)) == ({"a.dcm": "a/1"}, [])
    assert "'a/2', has no file" in matched(files, ids)[1][0]


def test_each_file_that_cannot_be_used_is_a_file_of_its_own() -> None:
    """Of two that a row could mean, one has a row of its own: the other may still be meant."""
    found, _ = matched({"u/x.dcm": "1"}, ["s/x", "x"], unusable=("s/x.dcm", "t/x.dcm"))
    assert found == {"u/x.dcm": "LABEL_AMBIGUOUS"}
    # Many of them, of one row, are none of another row.
    many = tuple(f"d{i}/x.dcm" for i in range(100))
    assert matched({"a.dcm": "1"}, ["a", "x"], unusable=many) == ({"a.dcm": "a"}, [])


def matcher_of(*ids: str) -> LabelMatcher:
    table = pd.DataFrame(np.zeros((len(ids), 6), np.int64), index=list(ids), columns=list(CLASSES))
    return LabelMatcher(LabelRows(table))


def test_a_file_without_a_patient_is_named_by_its_uid() -> None:
    matcher = matcher_of("1.9", "a/2")
    # What looks like a frame is part of the name: the header tells frames.
    matcher.add_unusable("a#2", replace(HEADER, image_id="1.9"))
    assert matcher.match(np.zeros(0, np.int64)).unused_rows == [1]


def test_rows_by_slice() -> None:
    matcher = matcher_of("a.dcm", "1.1", "a", "b", "I", "q/a.dcm")
    for path, uid in {"q/a.dcm": "1.1", "b.dcm": "1.2", "s/I.dcm": "1.3", "t/I.dcm": "1.4"}.items():
        matcher.add_slice(path, replace(HEADER, image_id=uid))
    matcher.add_unusable("u/I.dcm")
    matches = matcher.match(np.arange(4))
    # By UID, name and path; who names it exactly leaves none to a name cut short.
    assert [matches.rows(slice_) for slice_ in range(4)] == [[1, 0, 5], [3], [], []]
    assert matches.row.tolist() == [1, 3, -1, -1] and matches.row.dtype == np.int32
    assert matches.ambiguous == {2, 3}
    assert (matches.unused_rows, matches.ambiguous_rows) == ([2], [])
