"""Index of a shard: where each of its records lies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ich_tf.errors import DataError
from ich_tf.records.data_files import index_path
from ich_tf.records.manifest import repair_advice

# `int` takes signs, underscores and the digits of all scripts.
_LINE = re.compile(r"(0|[1-9][0-9]{0,18}) ([1-9][0-9]{0,18})")


def index_lines(sizes: Iterable[int]) -> str:
    r"""Text of an index.

    Args:
      sizes: Size of each record with its framing, bytes.

    Examples:
      >>> index_lines([100, 20])
      '0 100\n100 20\n'
    """
    lines, offset = [], 0
    for size in sizes:
        lines.append(f"{offset} {size}\n")
        offset += size
    return "".join(lines)


def read_index(shard: Path) -> list[tuple[int, int]]:
    """Reads the index of a shard.

    Args:
      shard: Path of the TFRecord file.

    Returns:
      Offset and size, with its framing, of each record, bytes.

    Raises:
      DataError: If the index is missing or damaged.
    """
    path = index_path(shard)
    places: list[tuple[int, int]] = []
    end = 0
    try:
        for line in path.read_text("ascii").splitlines():
            found = _LINE.fullmatch(line)
            if not found or int(found[1]) != end:
                raise ValueError(f"line {len(places) + 1} is not where a record starts")
            places.append((end, int(found[2])))
            end += int(found[2])
    except (OSError, ValueError) as error:
        # A decoder's error quotes the whole text.
        is_told = isinstance(error, (OSError, UnicodeError))
        reason = type(error).__name__ if is_told else error
        raise DataError(
            f"{path}: no index of a shard ({reason}). {repair_advice(shard.parent)}"
        ) from error
    return places
