"""Tables that attack who reads them: kilobytes of gzip that are gigabytes of text, or of cells.

The promise of all: one line that says what is wrong, in bounded memory. Lines and texts without end
are in `tests/properties/test_label_csvs.py`, formulas in tables (CWE-1236) in
`test_written_files.py`.
"""

from __future__ import annotations

import gzip
import tracemalloc
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from ich_tf.labels import LabelError, read_labels

MIB = 1 << 20
TABLES: dict[str, list[bytes]] = {
    "CWE-409: a quoted cell of lines": [b'ID,Label\nID_a_any,"', *[b"a\n" * (MIB // 2)] * 64],
    "CWE-770: 200,000 columns": [b"ID,any", b",x" * 200_000, b"\n", *[b"ID_a,1\n" * 1000] * 30],
    "CWE-770: a row of 200,000 values": [b"ID,Label\nID_a_any,1", b",x" * 200_000, b"\n"],
}


@pytest.mark.parametrize("parts", TABLES.values(), ids=TABLES.keys())
def test_tables_of_gigabytes(tmp_path: Path, parts: Iterable[bytes]) -> None:
    """30,000 rows under a header of 200,000 columns were 50 GB of empty cells."""
    path = tmp_path / "labels.csv"
    with gzip.open(path, "wb", 1) as file:
        for part in parts:
            file.write(part)
    tracemalloc.start()
    try:
        with pytest.raises(LabelError) as caught:
            read_labels(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 300 + len(str(path)) and "\n" not in str(caught.value)


def test_cwe_150_names_in_an_archive_of_tables(tmp_path: Path) -> None:
    """A thousand members, with escapes of a terminal in their names: a few are named, as text."""
    path = tmp_path / "labels.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"\x1b[2J{number:04}.csv", b"")
    with pytest.raises(LabelError, match="several files .* and 995 more") as caught:
        read_labels(path)
    assert str(caught.value).isprintable()


def test_quotation_marks_that_stand_for_themselves(tmp_path: Path) -> None:
    """A stray mark begins no cell, however many rows follow it."""
    rows = b"".join(b"ID_%06d,0,0,0,0,0,0,x\n" % number for number in range(60_000))
    path = tmp_path / "labels.csv"
    path.write_bytes(
        b"ID,epidural,intraparenchymal,intraventricular,subarachnoid,subdural,any,note\n"
        b'ID_a,0,0,0,0,0,0,5" deep\n' + rows
    )
    assert len(read_labels(path)) == 60_001
