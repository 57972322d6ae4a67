"""Label CSVs as programs leave them: read as what they plainly mean, or refused in words."""

import bz2
import codecs
import gzip
import io
import itertools
import logging
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.labels import (
    CLASSES,
    LabelError,
    read_label_table,
    read_labels,
    read_labels_and_conflicts,
    read_submission,
)

TABLE = {"a/1.dcm": "000000", "ID_b": "010011", "1.2.3": "100001"}
LINES = [
    f"{image}_{name},{value}"
    for image, values in TABLE.items()
    for name, value in zip(CLASSES, values, strict=True)
]
LONG = "\n".join(["ID,Label", *LINES, ""])
WIDE = "\n".join(
    [
        ",".join(("Image", *CLASSES)),
        *(",".join((image, *values)) for image, values in TABLE.items()),
        "",
    ]
)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def upper(text: str) -> str:
    for name in CLASSES:
        text = text.replace(name, name.title())
    return text


FORMS: dict[str, Callable[[str], str | bytes]] = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no end of line": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n") + "  \n",
    "byte order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "semicolons": lambda text: text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "Excel's note": lambda text: "sep=;\n" + text.replace(",", ";"),
    "trailing commas": lambda text: text.replace("\n", ",\n"),
    "trailing commas but in the header": lambda text: text.replace("\n", ",\n").replace(
        ",\n", "\n", 1
    ),
    "leading spaces": lambda text: " " + text.replace("\n", "\n "),
    "trailing spaces": lambda text: text.replace("\n", " \n"),
    "spaces around": lambda text: text.replace(",", " , "),
    "quotes": lambda text: f'"{text.rstrip()}"'.replace(",", '","').replace("\n", '"\n"'),
    "class names in another case": upper,
    "header in another case": lambda text: text.split("\n")[0].swapcase() + text[text.index("\n"):],
    "numbers with a point": lambda text: text.replace(",0", ",0.0").replace(",1", ",1.0"),
    "decimal commas": lambda text: re.sub(r"(?<=,)([01])(?=[,\n])", r"\1#0", text)
    .replace(",", ";").replace("#", ","),
    "gzip": lambda text: gzip.compress(text.encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "zip": lambda text: zipped(**{"l.csv": text.encode()}),
    "zip of macOS": lambda text: zipped(**{"l.csv": text.encode(), "__MACOSX/._l.csv": b"\0\5\26"}),
    "zip with notes": lambda text: zipped(**{"d/l.csv": text.encode(), "notes.pdf": b"%PDF"}),
}  # fmt: skip


@pytest.mark.parametrize("text", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("form", FORMS)
def test_a_csv_is_read_as_what_it_plainly_means(tmp_path: Path, form: str, text: str) -> None:
    data = FORMS[form](text)
    (tmp_path / "l.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    table = read_labels(tmp_path / "l.csv")
    assert list(table.index) == list(TABLE)
    assert ["".join(map(str, row)) for row in table.to_numpy()] == list(TABLE.values())


@pytest.mark.parametrize("name", ["ID", "image_id", "SOPInstanceUID", "SOP Instance UID", "path"])
def test_a_wide_csv_may_have_other_columns(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = [f"fold,{','.join(reversed(CLASSES))},{name},note"]
    lines += [f"3,{','.join(reversed(values))},{image}," for image, values in TABLE.items()]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    table = read_labels(tmp_path / "l.csv")
    assert tuple(table.columns) == CLASSES
    assert ["".join(map(str, row)) for row in table.to_numpy()] == list(TABLE.values())
    assert "not read: the columns fold, note" in caplog.text


@pytest.mark.parametrize("text", [LONG, WIDE], ids=["long", "wide"])
def test_any_may_be_left_out_everywhere(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    if text == WIDE:
        text = "\n".join(line.rpartition(",")[0] for line in text.splitlines())
    else:
        text = "\n".join(line for line in text.splitlines() if "_any" not in line)
    (tmp_path / "l.csv").write_text(text)
    table = read_labels(tmp_path / "l.csv")
    assert ["".join(map(str, row)) for row in table.to_numpy()] == list(TABLE.values())
    assert "has no labels for any, which is taken as the maximum" in caplog.text
    with pytest.raises(LabelError, match="no row for any"):
        read_submission(tmp_path / "l.csv")


def test_truth_values_of_a_wide_csv(tmp_path: Path) -> None:
    values = np.array([list(map(int, values)) for values in TABLE.values()])
    frame = pd.DataFrame(values == 1, columns=list(CLASSES), index=list(TABLE))
    frame.to_csv(tmp_path / "l.csv", index_label="filename")
    np.testing.assert_array_equal(read_labels(tmp_path / "l.csv").to_numpy(), values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(LONG.encode())[:90], "compressed file that is cut or damaged"),
        (gzip.compress(LONG.encode())[:-5] + b"12345", "compressed file that is cut or damaged"),
        (b"\x1f\x8b" + b"\xff" * 99, "compressed file that is cut or damaged"),
        (zipped(a=LONG.encode())[:90], "compressed file that is cut or damaged"),
        (zipped(**{"a.csv": b"", "b.csv": b""}), r"several files \(a.csv, b.csv\)"),
        (zipped(**{"xl/workbook.xml": b"", "a": b""}), "Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "Excel workbook"),
        (LONG.replace("ID_b", "ID\0b").encode(), "is no text: it holds bytes of zero"),
        (b"x" * 900 + LONG.encode(), "the header is 'x{300}...'"),
        (LONG.replace("ID_b", "p\xe9").encode("latin-1"), "line 8 is no UTF-8 text"),
        (LONG.replace("ID_b_any,1", "ID_b_any,1,x").encode(), "line 13 has 3 values; expected 2"),
        (LONG.replace("_any,0", "_any,0,x").replace("\n", ",\n").encode(), "line 7 has"),
        (LONG.replace("ID_b_any,1", "ID_b_any").encode(), "first 'ID_b_any with .* in line 13"),
        (LONG.replace("ID_b_any,1", ",1").encode(), "line 13 has no id"),
        (LONG.replace("ID_b_any,1", "\u00a0,1").encode(), "line 13 has no id"),
        (LONG.replace("ID_b_any,1", "_any,1").encode(), "line 13 has no id"),
        (LONG.replace("ID_b_any,1", "ID_b_any,7").encode(), "'ID_b_any with 7' in line 13"),
        (LONG.replace("ID_b_any", "ID_b_all").encode(), "the first 'ID_b_all' in line 13"),
        (LONG.replace("ID_b_any", '"ID_b_any').encode(), "line 13 has a quotation mark"),
        (WIDE.replace("subdural", "stroke").encode(), "without subdural"),
        (WIDE.replace("subdural", "any").encode(), "two columns 'any'"),
        (WIDE.replace("Image", "who").encode(), "0 columns that name an image"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"ID,Label\n\n", "has no rows"),
        (b"ID", "the header is 'ID'"),
        (bytes(99), "l.csv"),
    ],
    ids=itertools.count(),  # archives hold the time
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "l.csv").write_bytes(data)
    with pytest.raises(LabelError, match=message) as caught:
        read_labels(tmp_path / "l.csv")
    assert str(caught.value).startswith(f"{tmp_path / 'l.csv'}: ")


def test_the_line_of_each_image_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ich_tf.labels.rows._CHUNK_ROWS", 5)
    wrong = LONG.replace("ID_b_any,1", "ID_b_any,0")
    (tmp_path / "l.csv").write_text("\n" + wrong.replace("\n1.2.3_epi", "\n\n1.2.3_epi"))
    read = read_label_table(tmp_path / "l.csv")
    assert [*read.table.index, *read.conflicts] == ["a/1.dcm", "1.2.3", "ID_b"]
    assert read.lines.tolist() == [3, 16, 9]
    (tmp_path / "w.csv").write_text(WIDE)
    assert read_label_table(tmp_path / "w.csv").lines.tolist() == [2, 3, 4]


def test_a_wide_csv_may_contradict_itself(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(WIDE + "ID_b,0,0,0,0,0,0\n1.2.3,1,0,0,0,0,1\n")
    table, conflicts = read_labels_and_conflicts(tmp_path / "l.csv")
    assert list(table.index) == ["a/1.dcm", "1.2.3"]
    assert conflicts == {"ID_b": "its rows for intraparenchymal disagree"}
