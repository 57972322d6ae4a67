"""Columns of a label CSV: which one names the image, and which hold its labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ich_tf.labels.classes import ANY, CLASSES, SUBTYPES
from ich_tf.runtime.names import shortened

# Names of columns, without spaces, hyphens and underscores, in lower case.
ID_NAMES = ("id", "image", "imageid", "sopinstanceuid", "filename", "file", "path", "filepath")
LABEL_NAMES = ("label", "labels")
_MAX_SHOWN = 300
_CLASS_NUMBER = {name: number for number, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Columns:
    """Columns of a label CSV.

    Attributes:
      image: Place of the column that names the image; in a long CSV with its class.
      label: Place of the column of labels in a long CSV; -1 in a wide one.
      classes: Place of the column of each class in a wide CSV, by the class's number; the second
        reader's classes have the numbers from 6 on.
      unread: Names of other columns.
      readers: Names of the readers of a wide CSV in which several readers have columns.
    """

    image: int
    label: int
    classes: dict[int, int]
    unread: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


def column_key(name: str) -> str:
    """A column's name in lower case, without spaces, hyphens and underscores."""
    return re.sub(r"[ _-]", "", name.casefold())


def shown(header: Sequence[str]) -> str:
    """A header for a message: its beginning, if it is long."""
    return shortened(",".join(header), _MAX_SHOWN)


def class_number(name: str) -> int:
    """Number of a class, whatever the case of its name; -1 for another name.

    Examples:
      >>> class_number(" Subdural"), class_number("stroke")
      (4, -1)
    """
    return _CLASS_NUMBER.get(name.strip().casefold(), -1)


def find_columns(header: Sequence[str], *, any_alone: bool = False) -> Columns:
    """Finds the columns by their names, whatever their case and order.

    Args:
      header: Names of the columns; those without a name are not read.
      any_alone: Whether a column for `any` and none for a subtype will do.

    Raises:
      ValueError: If the columns are not those of labels; the text says why, to follow the file's
        name.

    Examples:
      >>> find_columns(["id", "Label"]).label
      1
    """
    keys = [column_key(name) for name in header]
    images = [place for place, key in enumerate(keys) if key in ID_NAMES]
    labels = [place for place, key in enumerate(keys) if key in LABEL_NAMES]
    classes: dict[int, int] = {}
    for place, name in enumerate(header):
        number = class_number(name)
        if number in classes:
            raise ValueError(
                f"the header is {shown(header)!r}, with two columns {name!r}; remove one."
            )
        if number >= 0:
            classes[number] = place
    used = {*images, *labels, *classes.values()}
    others = tuple(name for place, name in enumerate(header) if name and place not in used)
    if not classes:
        if len(images) != 1 or len(labels) != 1 or others:
            raise ValueError(
                f"the header is {shown(header)!r}; expected 'ID,Label', or an id and a column for "
                "each class. Rename or drop columns so that only these remain."
            )
        return Columns(images[0], labels[0], {})
    if len(images) != 1:
        raise ValueError(
            f"the header is {shown(header)!r}, with {len(images)} columns that name an image; "
            "expected one named ID, Image, image_id, SOPInstanceUID, filename or path."
        )
    missing = [name for number, name in enumerate(SUBTYPES) if number not in classes]
    if missing and not (any_alone and set(classes) == {ANY}):
        raise ValueError(
            f"the header is {shown(header)!r}, without {', '.join(missing)}; expected a column for "
            f"each of {', '.join(CLASSES)}, of which any may be left out."
        )
    unread = tuple(header[place] for place in labels) + others
    return Columns(images[0], -1, classes, unread)
