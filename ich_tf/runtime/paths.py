"""Paths that users give, and paths that TensorFlow takes for patterns."""

from __future__ import annotations

import atexit
import errno
import functools
import os
import shutil
import tempfile
from pathlib import Path

from ich_tf.runtime.names import shortened

# Of Linux and macOS, bytes.
_MAX_PATH, _MAX_NAME = 4095, 255
# Characters of a pattern, as fnmatch of the C library takes them.
_PATTERN = frozenset("*?[]\\")


def user_path(text: str) -> str:
    """A path as its user means it: shells leave a ~ behind `=` alone.

    Args:
      text: Path, which may begin with `~` or `~user`; or empty.

    Returns:
      The path with the home folder in the place of a leading ~.

    Raises:
      ValueError: If no file can have this path; the text says why, to follow the name of a flag.

    Examples:
      >>> user_path("runs/~a"), user_path("~/runs") == f"{Path.home()}/runs"
      ('runs/~a', True)
    """
    path = os.path.expanduser(text)  # noqa: PTH111 - Path would drop a trailing slash
    if path.startswith("~"):
        raise ValueError(
            f"{shortened(text, 40)!r}: no user of that name has a home folder; ./~ is a plain name."
        )
    if "\0" in path:
        raise ValueError(f"{shortened(text, 40)!r}: holds a NUL byte, which no path does.")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{shortened(text, 40)!r}: holds half a character, which no path does."
        ) from error
    if len(encoded) > _MAX_PATH or max(map(len, encoded.split(b"/"))) > _MAX_NAME:
        raise ValueError(
            f"{text[:40]!r}...: has {len(encoded)} bytes; a path may have {_MAX_PATH}, "
            f"and each name in it {_MAX_NAME}."
        )
    try:
        os.stat(path)  # noqa: PTH116 - Path would drop a trailing slash
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{shortened(text, 40)!r}: is a link that leads to itself.") from error
    return path


@functools.cache
def plain_path(folder: Path) -> Path:
    """A path of a folder without the characters that TensorFlow takes for a pattern.

    TensorFlow looks for checkpoints by patterns (`Env::GetMatchingPaths`), so that in a folder
    `run[1]` it finds none to read or to delete.

    Args:
      folder: The folder, which may not exist yet.

    Returns:
      The folder itself; if its path has such a character, a link to it in a temporary folder, which
      goes when the process ends.
    """
    if _PATTERN.isdisjoint(str(folder.absolute())):
        return folder
    link = Path(tempfile.mkdtemp(prefix="ich_tf-")) / "folder"
    link.symlink_to(folder.resolve(), target_is_directory=True)
    atexit.register(shutil.rmtree, link.parent, ignore_errors=True)
    return link
