"""CSV files as programs leave them: compressed or not, in several encodings and separators."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from ich_tf.runtime.clutter import is_clutter
from ich_tf.runtime.csv_cells import cell_text
from ich_tf.runtime.csv_lines import CsvError, RowGuard
from ich_tf.runtime.names import printable

SEPARATORS = (",", ";", "\t", "|")
_BOMS = {  # that of UTF-32 begins as that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORKBOOK = "xl/workbook.xml"
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_TEXTS = (".csv", ".tsv", ".txt")
_ENCRYPTED = 1
# RSNA's labels are a text of 120 MiB, whose lines have 30 bytes.
_MOST_BYTES, _MOST_OF_LINE = 1 << 30, 1 << 20
_MAX_COLUMNS = 4096
# Names of an archive's members in one message.
_LISTED_NAMES = 5
_DAMAGED = (
    EOFError,
    OSError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class CsvText:
    """A CSV file that is open after its header.

    Attributes:
      file: Text of its rows, to be read by pandas or line by line.
      separator: Character between values, one of `SEPARATORS`.
      header: Names of the columns, without white space around them.
      line: Number of the header's line, from 1.
      width: Most values of a row, up to the first row below the header that has any; 0 if there
        is none.
    """

    file: CsvRows
    separator: str
    header: tuple[str, ...]
    line: int
    width: int


@contextmanager
def open_csv(path: Path) -> Iterator[CsvText]:
    """Opens a CSV file, which may be compressed, whatever its name says.

    Args:
      path: CSV file, or a zip, gzip, bzip2 or xz file of one.

    Yields:
      The text after the header.

    Raises:
      CsvError: If there is no such file, or its bytes or its text are broken, even if that shows
        while the text is read.
    """
    if not path.is_file():
        is_other = path.exists()
        raise CsvError(
            "is a folder, pipe or device; expected a file." if is_other else "no such file."
        )
    try:
        with _opened(path) as (data, encoding):
            text = io.TextIOWrapper(data, encoding, newline="")
            yield _after_header(text)
            text.detach()
    except UnicodeDecodeError as error:
        raise CsvError(_not_text(path)) from error
    except csv.Error as error:
        raise CsvError(f"not readable as CSV ({error}).") from error


def named_rows(text: CsvText, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a small table.

    Args:
      text: An open file.
      required: Names of columns that it must have, in lower case.

    Yields:
      Number of the line, and the values without white space around them, as `csv_cells.text_cell`
      took them, by the name of their column in lower case; nothing for empty rows.

    Raises:
      CsvError: If a column is missing, or a row has more or fewer values than there are columns.
    """
    header = [name.lower() for name in text.header]
    missing = [name for name in required if name not in header]
    if missing:
        raise CsvError(f"has no column {' and '.join(missing)}.")
    rows = csv.reader(text.file, delimiter=text.separator, skipinitialspace=True)
    for row in rows:
        values = [cell_text(value.strip()) for value in row]
        line = text.line + rows.line_num
        if not any(values):
            continue
        if len(values) != len(header):
            raise CsvError(f"line {line} has {len(values)} values; expected {len(header)}.")
        yield line, dict(zip(header, values, strict=True))


def split_line(line: str, separator: str) -> list[str]:
    """Values of a line, without white space around them.

    Examples:
      >>> split_line(' ID_a_any; "1" ', ";")
      ['ID_a_any', '1']
    """
    rows = csv.reader([line], delimiter=separator, skipinitialspace=True)
    return [value.strip() for value in next(rows, [])]


def _after_header(text: TextIO) -> CsvText:
    line, number, separator = "", 0, ""
    while not line.strip():
        line = text.readline()
        if not line:
            raise CsvError("is empty; expected a header and rows.")
        number += 1
        if number == 1 and line.lower().startswith("sep=") and line.strip()[4:] in SEPARATORS:
            separator, line = line.strip()[4:], ""  # a note of Excel's
    separator = separator or max(SEPARATORS, key=lambda mark: len(split_line(line, mark)))
    # A name may hold ends of lines, as those of spreadsheets do.
    first = csv.reader(itertools.chain([line], text), delimiter=separator, skipinitialspace=True)
    header = tuple(" ".join(name.split()) for name in next(first, []))
    number += first.line_num - 1
    if len(header) > _MAX_COLUMNS:
        raise CsvError(f"has {len(header)} columns; expected {_MAX_COLUMNS} at most.")
    rest: list[str] = []  # what is read here, to be read again
    lines = _noted(text, rest)
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    width = 0
    for row in rows:
        width = max(width, len(row))
        if any(value.strip() for value in row):
            break
    if width > _MAX_COLUMNS:
        at = number + rows.line_num
        raise CsvError(f"line {at} has {width} values; expected {_MAX_COLUMNS} at most.")
    return CsvText(CsvRows("".join(rest), text, separator), separator, header, number, width)


def _noted(lines: Iterable[str], notes: list[str]) -> Iterator[str]:
    for line in lines:
        notes.append(line)
        yield line


class CsvRows:
    """Text after lines that were read to look at them."""

    def __init__(self, start: str, text: TextIO, separator: str) -> None:
        """Wraps a text.

        Args:
          start: Lines that were read already.
          text: Text after these lines.
          separator: Character between values.
        """
        self._start, self._text = start, text
        self._guard = RowGuard(separator)

    def read(self, size: int = -1) -> str:
        """Reads some characters; none at the end.

        Raises:
          CsvError: If a row is longer than any of a table.
        """
        piece, self._start = self._start, ""
        piece = piece or self._text.read(size)
        self._guard.check(piece)
        return piece

    def __iter__(self) -> Iterator[str]:
        """Yields the lines."""
        yield from io.StringIO(self._start, newline="")
        self._start = ""
        yield from self._text


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """The bytes of a CSV file, unpacked, and their encoding."""
    with _unpacked(path) as data:
        with _damage_told():
            start = data.peek(4096)[:4096]
        encoding = next((name for bom, name in _BOMS.items() if start.startswith(bom)), "")
        if start.startswith(_OLD_WORKBOOK):
            raise CsvError("is an Excel workbook; save its sheet as CSV.")
        if not encoding and b"\0" in start:
            encoding = _utf16(start)
        yield data, encoding or "utf-8"


def _utf16(start: bytes) -> str:
    """Encoding of UTF-16 without its mark: every other byte of a Latin letter is zero.

    Raises:
      CsvError: If the bytes are no text.
    """
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) < len(start) // 4 or min(even, odd) > max(even, odd) // 4:
        raise CsvError("is no text: it holds bytes of zero. Save it as CSV, in UTF-8.")
    return "utf-16-le" if odd > even else "utf-16-be"


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, or of the one file that is packed in it."""
    with open(path, "rb") as file:
        start = file.read(6)
        file.seek(0)
        unpacked: Any = None
        if start.startswith(b"\x1f\x8b"):
            unpacked = gzip.GzipFile(fileobj=file)
        elif start.startswith(b"BZh"):
            unpacked = bz2.BZ2File(file)
        elif start.startswith(b"\xfd7zXZ\x00"):
            unpacked = lzma.LZMAFile(file)  # noqa: SIM115 - closed below
        elif start.startswith(b"PK\x03\x04"):
            unpacked = _member(file)
        with unpacked or file:
            yield io.BufferedReader(_Told(unpacked or file), 1 << 16)


def _member(file: IO[bytes]) -> IO[bytes]:
    """Opens the one CSV file in a zip archive."""
    with _damage_told():
        archive = zipfile.ZipFile(file)
        infos = [
            info
            for info in archive.infolist()
            if not info.is_dir() and not is_clutter(info.filename)
        ]
        if any(info.filename == _WORKBOOK for info in infos):
            raise CsvError("is an Excel workbook; save its sheet as CSV.")
        texts = [info for info in infos if info.filename.lower().endswith(_TEXTS)] or infos
        if len(texts) != 1:
            names = [printable(info.filename)[:100] for info in texts]
            listed = ", ".join(sorted(names)[:_LISTED_NAMES]) or "none"
            more = f" and {len(names) - _LISTED_NAMES} more" * (len(names) > _LISTED_NAMES)
            raise CsvError(
                f"is a zip archive of several files ({listed}{more}); expected one CSV file."
            )
        if texts[0].flag_bits & _ENCRYPTED:
            raise CsvError("is an encrypted zip archive; expected one without a password.")
        return archive.open(texts[0])


class _Told(io.RawIOBase):
    """Unpacked bytes, whose damage is told as that of the archive, and which have an end.

    Megabytes can unpack to terabytes, and whoever reads a line holds all of it.
    """

    def __init__(self, unpacked: IO[bytes]) -> None:
        self._unpacked = unpacked
        self._num_bytes = self._of_line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _damage_told():
            data = self._unpacked.read(len(buffer))
        self._num_bytes += len(data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._of_line = self._of_line + len(data) if end < 0 else len(data) - end
        if self._of_line > _MOST_OF_LINE:
            raise CsvError(f"has a line of more than {_MOST_OF_LINE >> 20} MiB, as no table has.")
        if self._num_bytes > _MOST_BYTES:
            raise CsvError(f"has more than {_MOST_BYTES >> 20} MiB of text; split it into several.")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CsvError(
            f"is a compressed file that is cut or damaged ({type(error).__name__})."
        ) from error


def _not_text(path: Path) -> str:
    """Words for the first line that is no text."""
    with _opened(path) as (data, encoding):
        if encoding.startswith(("utf-16", "utf-32")):
            return f"is no {encoding[:6].upper()} text, as which it begins. Save it as UTF-8."
        broken = (
            number
            for number, line in enumerate(data, 1)
            if "\ufffd" in line.decode(errors="replace")
        )
        return f"line {next(broken, 1)} is no UTF-8 text. Save it as UTF-8."
