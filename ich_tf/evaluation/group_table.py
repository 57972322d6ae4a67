"""Groups of patients by a CSV: sex, age group, site, or whatever else its columns hold."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ich_tf.conversion.pseudonyms import key_fingerprint, pseudonym, read_hash_key
from ich_tf.errors import InputError
from ich_tf.inference.forward import LabelledSlices
from ich_tf.labels.columns import shown
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.csv_files import named_rows, open_csv
from ich_tf.runtime.csv_lines import CsvError
from ich_tf.runtime.names import shortened

_LOG = logging.getLogger(__name__)
# Names of the column that says whose a row is, without spaces, dashes and underscores.
_NAMES = {
    "patient": "patient_key",
    "patientid": "patient_key",
    "patientkey": "patient_key",
    "series": "series_key",
    "seriesid": "series_key",
    "seriesinstanceuid": "series_key",
    "serieskey": "series_key",
    "image": "source_id",
    "imageid": "source_id",
    "sopinstanceuid": "source_id",
    "sourceid": "source_id",
}
_FINGERPRINT = re.compile("[0-9a-f]{16}")
_EXPECTED = "patient (PatientID), series (SeriesInstanceUID) or image (image_id)"
_SHOWN = {"patient_key": "patients", "series_key": "series", "source_id": "images"}
# More groups than these are rather a measurement, such as an age in years.
MOST_GROUPS = 20
UNKNOWN, ABSENT = "unknown", "not in the file"


@dataclasses.dataclass(frozen=True)
class GroupTable:
    """Groups by column of a CSV.

    Attributes:
      path: File.
      kind: What a row is of: `patient_key`, `series_key` or `source_id`.
      columns: Names of the columns with groups.
      rows: Key -> group by column.
    """

    path: str
    kind: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]


def read_groups(path: str | Path) -> GroupTable:
    """Reads a CSV with a key and columns of groups; an empty value is the group `unknown`.

    Raises:
      InputError: If it cannot be read, names no key or two, has no other column, one with more
        than `MOST_GROUPS` values, or a key twice with other values.
    """
    try:
        with open_csv(Path(path)) as text:
            key, kind, columns = _columns(path, text.header)
            rows: dict[str, dict[str, str]] = {}
            for line, row in named_rows(text, ()):
                groups = {name: row[name.lower()] or UNKNOWN for name in columns}
                if rows.setdefault(row[key], groups) != groups:
                    raise InputError(
                        f"{path}: line {line} gives {shortened(row[key])!r} other groups than a "
                        f"line before it. Give each key one row, or the same groups in all of "
                        "its rows."
                    )
    except CsvError as error:
        raise InputError(f"{path}: {error}") from error
    for name in columns:
        values = {groups[name] for groups in rows.values()}
        if len(values) > MOST_GROUPS:
            raise InputError(
                f"{path}: the column {shortened(name)} has {len(values)} different values; "
                f"expected groups, {MOST_GROUPS} at most. Write ranges instead of numbers, such "
                "as 60-79, or drop the column."
            )
    return GroupTable(str(path), kind, columns, rows)


def _columns(path: str | Path, header: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Name of the key's column in lower case, its kind, and the names of the others."""
    kinds = {name: _NAMES.get(re.sub(r"[ _-]", "", name.casefold()), "") for name in header}
    keys = [name for name, kind in kinds.items() if kind]
    if len(keys) != 1:
        told = shortened(" and ".join(keys), 200) or "none of them"
        raise InputError(
            f"{path}: the columns are {shown(header)}, of which {told} say whose a row is; "
            f"expected one named {_EXPECTED}."
        )
    others = tuple(name for name, kind in kinds.items() if name and not kind)
    if not others or len({name.lower() for name in header}) != len(header):
        raise InputError(
            f"{path}: the columns are {shown(header)}; expected, beside {shortened(keys[0])}, "
            "one or more with groups, each with a name of its own."
        )
    return keys[0].lower(), kinds[keys[0]], others


def groups_of_slices(
    table: GroupTable, slices: LabelledSlices, manifest: Manifest, hash_key_file: str = ""
) -> dict[str, list[str]]:
    """Finds the groups of slices.

    Keys are those of the records, or ids as DICOM files hold them, which are hashed as the
    conversion hashed them.

    Args:
      table: Groups.
      slices: Slices of a split, n.
      manifest: Manifest of the conversion.
      hash_key_file: File with the secret of the conversion; empty for none.

    Returns:
      Column -> group of each slice, [n]: `not in the file` for those that the table lacks.

    Raises:
      InputError: If the secret is another, or no key is the split's.
    """
    secret, fingerprint = read_hash_key(hash_key_file), secret_fingerprint(manifest)
    if secret and key_fingerprint(secret) != fingerprint:
        raise InputError(
            f"--hash_key_file={hash_key_file}: holds another secret than the one that the data "
            "were converted with."
        )
    keys = getattr(slices, table.kind)
    known = set(keys)
    rows = {}
    for key, groups in table.rows.items():
        # Without the secret a hash of the public key would match nothing.
        names = [key] if fingerprint and not secret else [key, pseudonym(key, secret)]
        rows.update({name: groups for name in names if name in known})
    if not rows:
        reason = (
            "The data were converted with a secret: give --hash_key_file, or the keys of "
            "predictions.csv."
            if fingerprint and not secret
            else f"Keys are ids as the DICOM files hold them, or the column {table.kind} of "
            "predictions.csv."
        )
        first = next(iter(table.rows), "")
        raise InputError(
            f"{table.path}: none of its {len(table.rows)} keys, such as {first!r}, is one of the "
            f"split's {len(known)} {_SHOWN[table.kind]}. {reason}"
        )
    missing = dict.fromkeys(table.columns, ABSENT)
    of_slices = [rows.get(key, missing) for key in keys]
    if absent := len(known - rows.keys()):
        _LOG.warning(
            "%s: lacks %d of the split's %d %s; they are in the group %r",
            *(table.path, absent, len(known), _SHOWN[table.kind], ABSENT),
        )
    return {name: [groups[name] for groups in of_slices] for name in table.columns}


def secret_fingerprint(manifest: Manifest) -> str:
    """Fingerprint of the secret that a conversion had; empty for none."""
    last = manifest.patient_keys.rpartition(" ")[2]
    return last if _FINGERPRINT.fullmatch(last) else ""
