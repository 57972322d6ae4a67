"""Cells of CSV files that spreadsheets open: text that a stranger wrote is never calculated."""

from __future__ import annotations

import re

# What a spreadsheet takes for the start of a formula, which may start a program or send the table
# away (CWE-1236); numbers with a sign are none.
# An apostrophe before a formula is the text's own: it gets one more.
_FORMULA = re.compile(
    r"'*([=@\t\r]|[+-](?!(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$))", re.ASCII | re.IGNORECASE
)


def text_cell(text: str) -> str:
    """An id or a name as the cell of a CSV file: with an apostrophe where it begins as a formula.

    Examples:
      >>> text_cell("ID_1"), text_cell("-1.5e-05"), text_cell("=cmd|' /C calc'!A0")
      ('ID_1', '-1.5e-05', "'=cmd|' /C calc'!A0")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def cell_text(cell: str) -> str:
    """The text of a cell; the inverse of `text_cell`.

    Examples:
      >>> cell_text("'-rf"), cell_text("'s"), cell_text("ID_1")
      ('-rf', "'s", 'ID_1')
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
