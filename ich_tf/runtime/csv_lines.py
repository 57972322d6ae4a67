"""Lines and rows of CSV files, none of which may be so long that it takes the memory of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TextIO

# Longest line, and longest row whose cells are quoted, characters.
MAX_ROW = 1 << 20


class CsvError(ValueError):
    """A file that cannot be read as CSV; the text says what it is, to follow its name."""


def lines(text: TextIO) -> Iterator[str]:
    """Yields the lines of a text.

    Args:
      text: The text.

    Raises:
      CsvError: If a line has more than `MAX_ROW` characters.
    """
    number = 1
    while line := text.readline(MAX_ROW + 1):
        if len(line) > MAX_ROW:
            raise CsvError(f"line {number} has more than {MAX_ROW:,} characters.")
        yield line
        number += 1


class RowGuard:
    """Looks at a text, piece by piece as it is read, for a row without end.

    A parser collects a row until it ends, and a quoted cell may hold ends of lines: a few kilobytes
    of gzip may hold a cell of gigabytes.
    """

    def __init__(self, separator: str) -> None:
        """Starts at the beginning of a row.

        Args:
          separator: Character between values.
        """
        self._separator = separator
        self._row = ""
        self._is_quoted = False

    def check(self, piece: str) -> None:
        """Takes the next piece.

        Raises:
          CsvError: If a row has more than `MAX_ROW` characters.
        """
        is_quoted = self._is_quoted ^ bool(piece.count('"') & 1)
        self._is_quoted, end = is_quoted, len(piece)
        while True:  # backwards from quotation mark to quotation mark, to the last end of a row
            start = piece.rfind('"', 0, end)
            if not is_quoted:
                at = max(piece.rfind(mark, start + 1, end) for mark in "\n\r")
                if at >= 0:
                    self._row = piece[at + 1 :]
                    break
            if start < 0:
                self._row += piece
                break
            is_quoted, end = not is_quoted, start
        if len(self._row) > MAX_ROW:
            self._look_closely()

    def _look_closely(self) -> None:
        """Parses what may be a row: within a cell a quotation mark may stand for itself."""
        number = 0
        try:
            for _ in csv.reader(io.StringIO(self._row, newline=""), delimiter=self._separator):
                number += 1
        except csv.Error as error:
            raise CsvError(
                f"has a value of more than {csv.field_size_limit():,} characters; perhaps a "
                "quotation mark does not close."
            ) from error
        if number <= 1:
            raise CsvError(f"has a row of more than {MAX_ROW:,} characters; expected a table.")
        self._row, self._is_quoted = "", False
