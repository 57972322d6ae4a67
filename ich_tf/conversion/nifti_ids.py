"""Ids of NIfTI files, which have none inside: a table of patients, studies and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ich_tf.dicom.header import Header
from ich_tf.dicom.nifti_names import without_nifti_extension
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.errors import InputError
from ich_tf.runtime.csv_files import named_rows, open_csv
from ich_tf.runtime.csv_lines import CsvError
from ich_tf.runtime.names import printable

_FILE, _PATIENT = "file", "patient"
# Column -> field of `Header`; those but the patient may be missing, or empty in a row.
_FIELDS = {_PATIENT: "patient_id", "study": "study_id", "series": "series_id"}


class NiftiIds:
    """Ids of files by their paths, with or without extension."""

    def __init__(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Stores the ids.

        Args:
          rows: Path of a file within the source folder -> ids by field of `Header`.
        """
        self._rows = rows

    @classmethod
    def from_csv(cls, path: str) -> NiftiIds:
        """Reads a table.

        Raises:
          InputError: If it cannot be read, lacks a column or a patient, or has a file twice.
        """
        rows: dict[str, dict[str, str]] = {}
        try:
            with open_csv(Path(path)) as text:
                for line, values in named_rows(text, (_FILE, _PATIENT)):
                    file = without_nifti_extension(values[_FILE].replace("\\", "/"))
                    ids = {_FIELDS[name]: values[name] for name in _FIELDS if values.get(name)}
                    if not file or not values[_PATIENT]:
                        raise CsvError(f"line {line} has no file or no patient; expected both.")
                    if "/" in ids.get("series_id", ""):
                        raise CsvError(
                            f"line {line} has a series with a slash, which marks a repeated pass; "
                            "write another character."
                        )
                    if rows.setdefault(file, ids) != ids:
                        raise CsvError(f"line {line} names a file again, with other ids.")
        except (CsvError, OSError) as error:
            text_ = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError(
                f"{path}: {text_} Expected a CSV with the columns file and patient, and where "
                "known study and series."
            ) from error
        return cls(rows)

    def named(self, path: str, header: Header) -> Header:
        """A header with the ids of its file.

        Args:
          path: Path of the file from the folder of all inputs.
          header: Header of a slice, with ids of the file's name.

        Raises:
          DicomError: BAD_HEADER, if the table does not have the file.
        """
        ids = self._rows.get(printable(without_nifti_extension(path)))
        if ids is None:
            raise DicomError(
                Reason.BAD_HEADER,
                "is not in the table of --nifti_csv, so that nothing says whose slice it is.",
            )
        return replace(header, **ids)  # type: ignore[arg-type]
