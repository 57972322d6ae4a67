"""Layout of a prediction: which slices there are, of which series, and which of them are chosen.

It is a table of the database of the predictions, so that a killed run scans no header twice.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ich_tf.dicom import series
from ich_tf.dicom.choice import SeriesChoice, not_chosen_message
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.dicom.series_description import describe_series

TABLE = """
CREATE TABLE layout (
    series TEXT, source INTEGER, frame INTEGER, header TEXT, crop TEXT, pass TEXT, why_not TEXT
);
CREATE INDEX layout_by_series ON layout (series);
CREATE INDEX layout_by_source ON layout (source);
"""


@dataclass(frozen=True)
class ChosenSlice:
    """How to read a slice.

    Attributes:
      series_id: Id of its series, or of its pass of the series, as `series.pass_id` makes it.
      crop: Box to cut out; empty for the whole slice.
    """

    series_id: str
    crop: Box


@dataclass(frozen=True)
class FileGroup:
    """Files that are read together: those of one series, if a slice is read with its neighbours.

    Attributes:
      sources: Places in the list of sources.
      slices: Place -> frame -> how to read the slice; a file that is missing here has none.
    """

    sources: list[int]
    slices: dict[int, dict[int, ChosenSlice]]


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """A row of the layout."""

    source: int
    header: Header
    crop: Box
    pass_id: str
    why_not: str


class Layout:
    """The headers of all files, by series."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Takes an open database that has the tables `TABLE`, `about` and `done`."""
        self._database = database

    @property
    def is_laid_out(self) -> bool:
        """Whether `add` has stored the headers of all files."""
        return bool(self._database.execute("SELECT laid_out FROM about").fetchone()[0])

    def add(self, slices: Iterable[tuple[int, Header, Box]], choice: SeriesChoice) -> None:
        """Stores the headers of all files, and chooses the series to predict.

        Args:
          slices: Place of the file, header and box of the head in the slice alone, for each slice.
          choice: Rule of the choice.
        """
        self._database.execute("DELETE FROM layout")
        rows = (
            (series_key(header), source, header.frame, header_text(header), json.dumps(crop))
            for source, header, crop in slices
        )
        self._database.executemany("INSERT INTO layout VALUES (?, ?, ?, ?, ?, '', '')", rows)
        keys = self._database.execute("SELECT DISTINCT series FROM layout ORDER BY series")
        for _, study in itertools.groupby(
            [key for (key,) in keys.fetchall()], key=lambda key: json.loads(key)[:2]
        ):
            self._choose([row for key in study for row in self._layout_of(key)], choice)
        self._database.execute(
            "INSERT OR REPLACE INTO done SELECT source FROM layout "
            "GROUP BY source HAVING MIN(why_not) != ''"
        )
        self._database.execute("UPDATE about SET laid_out = 1")
        self._database.commit()

    def _choose(self, study: Sequence[_LaidOut], choice: SeriesChoice) -> None:
        """Notes the pass of each slice of a study, and why it is left out if it is."""
        passes = series.group_by_series(study)
        descriptions = [
            describe_series(series_id, [row.header for row in members])
            for (_, _, series_id), members in passes.items()
        ]
        reasons = choice.why_not(descriptions)
        for ((_, _, series_id), members), description, why_not in zip(
            passes.items(), descriptions, reasons, strict=True
        ):
            boxes = series_boxes([(row.header, row.crop) for row in members])
            message = not_chosen_message(description, why_not) if why_not else ""
            self._database.executemany(
                "UPDATE layout SET pass = ?, why_not = ?, crop = ? WHERE source = ? AND frame = ?",
                (
                    (series_id, message, json.dumps(box), row.source, row.header.frame)
                    for row, box in zip(members, boxes, strict=True)
                ),
            )

    def _layout_of(self, key: str) -> list[_LaidOut]:
        """The slices of a series UID, by file and frame."""
        rows = self._database.execute(
            "SELECT source, header, crop, pass, why_not FROM layout WHERE series = ? "
            "ORDER BY source, frame",
            (key,),
        )
        return [
            _LaidOut(source, header_of_text(header), tuple(json.loads(crop)), pass_, why_not)
            for source, header, crop, pass_, why_not in rows
        ]

    def groups(self, number: int) -> Iterator[FileGroup]:
        """Yields groups of files: the chosen ones of one series, then each file without a slice.

        Args:
          number: Number of sources.
        """
        keys = self._database.execute("SELECT DISTINCT series FROM layout ORDER BY series")
        seen: set[int] = set()
        for (key,) in keys.fetchall():
            rows = self._layout_of(key)
            slices: dict[int, dict[int, ChosenSlice]] = {}
            for row in rows:
                # A file with frames of several series is read with the first.
                if not row.why_not and row.source not in seen:
                    chosen = ChosenSlice(row.pass_id, row.crop)
                    slices.setdefault(row.source, {})[row.header.frame] = chosen
            seen.update(row.source for row in rows)
            if slices:
                yield FileGroup(list(slices), slices)
        yield from (FileGroup([source], {}) for source in range(number) if source not in seen)

    def not_chosen(self) -> Iterator[tuple[int, int, str]]:
        """Yields place of the file, frame and message of each slice that is not chosen."""
        yield from self._database.execute(
            "SELECT source, frame, why_not FROM layout WHERE why_not != '' ORDER BY source, frame"
        )

    def num_not_chosen(self) -> tuple[int, int]:
        """Numbers of slices and of series that are not chosen."""
        ((slices, passes),) = self._database.execute(
            "SELECT COUNT(*), COUNT(DISTINCT series || pass) FROM layout WHERE why_not != ''"
        )
        return int(slices), int(passes)


def series_key(header: Header) -> str:
    """Key of a series, which sorts as its study, patient and series ids do."""
    return json.dumps([header.study_id, header.patient_id, header.series_id])


def header_text(header: Header) -> str:
    """A header as JSON."""
    return json.dumps({field.name: getattr(header, field.name) for field in fields(Header)})


def header_of_text(text: str) -> Header:
    """Reads the output of `header_text`."""
    values: dict[str, Any] = json.loads(text)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return Header(**values)
