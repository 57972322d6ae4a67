"""Index of a shard: where each of its records lies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ich_tf.errors import DataError
from ich_tf.records.data_files import index_path
from ich_tf.records.manifest import repair_advice


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
    try:
        lines = path.read_text("ascii").splitlines()
        return [(int(offset), int(size)) for offset, size in map(str.split, lines)]
    except (FileNotFoundError, ValueError) as error:
        raise DataError(
            f"{path}: no index of a shard ({type(error).__name__}). {repair_advice(shard.parent)}"
        ) from error
