"""Files of flags, one a line: a user's own, and the recipes of ich_tf, which are named @name."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ich_tf.errors import UsageError
from ich_tf.runtime.names import shortened
from ich_tf.runtime.paths import user_path
from ich_tf.runtime.permissions import check_secret_file

# The folder is part of the package in a wheel, and beside the package in a checkout.
_FOLDERS = tuple(Path(__file__).parents[depth] / "configs" for depth in (1, 2))
_SUFFIX = ".flags"
_COMMENTS = ("#", "//")
_LINE_END = re.compile(r"\r\n|\n|\r")
_MOST_BYTES = 1 << 20
_MOST_FILES, _DEEPEST = 200, 20


def recipes() -> dict[str, Path]:
    """Recipes that are part of ich_tf: name -> path."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob(f"*{_SUFFIX}"))}


def expand(arguments: Sequence[str], secrets: Collection[str] = ()) -> list[str]:
    """Replaces `--flagfile=FILE` and `--flagfile=@NAME` by the flags of the file.

    Flags of files come before all other flags, wherever `--flagfile` is, so that a flag on the
    command line wins over the same flag of a file. A file may include other files, and wins over
    them. Each line is one flag, written as on the command line but without quotes; a line that
    begins with # or // is a comment. Lines end as in files of Linux, Windows or old Macs.

    Args:
      arguments: Command line arguments without the program's name.
      secrets: Names of flags whose values are secrets: in a file that others may read, or on the
        command line, they are refused.

    Returns:
      Arguments without `--flagfile`.

    Raises:
      UsageError: If a file cannot be read, includes itself, or a recipe does not exist; or if
        others may read a secret.
    """
    given = next(filter(None, (_secret_of(text, secrets) for text in arguments)), "")
    if given:
        raise UsageError(
            f"--{given} is on the command line, which every user of this machine can read. Write "
            f"the secret into a file of mode 600, and give --{given}_file=FILE; make a new secret "
            "if others use this machine."
        )
    return _expanded(arguments, (), secrets, itertools.count(1))


def _secret_of(argument: str, secrets: Collection[str]) -> str:
    """The flag that an argument gives, if its value is a secret; else empty."""
    name = argument.partition("=")[0].lstrip("-")
    return name if argument.startswith("-") and name in secrets else ""


def _expanded(
    arguments: Sequence[str],
    including: tuple[Path, ...],
    secrets: Collection[str],
    number: Iterator[int],
) -> list[str]:
    """Expands arguments that were read from the files `including`, the outermost first.

    `number` counts the files.
    """
    file_flags: list[str] = []
    direct_flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            direct_flags += [argument, *rest]
            break
        name, is_joined, value = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            direct_flags.append(argument)
            continue
        if not is_joined:
            value = next(rest, "")
        path = _path(value)
        if path.resolve() in including:
            raise UsageError(
                f"--flagfile={shortened(value)}: the file includes itself. Remove that line."
            )
        # Files that include each other twice would be read 2**n times.
        if next(number) > _MOST_FILES or len(including) >= _DEEPEST:
            raise UsageError(
                f"--flagfile={shortened(value)}: the files of flags include more than "
                f"{_MOST_FILES} others, or {_DEEPEST} within each other. Put their lines into "
                "one file."
            )
        lines = _lines(path)
        for name in filter(None, (_secret_of(line, secrets) for line in lines)):
            check_secret_file(path, f"--{name} is in --flagfile", UsageError)
        file_flags += _expanded(lines, (*including, path.resolve()), secrets, number)
    return file_flags + direct_flags


def _path(value: str) -> Path:
    if not value.startswith("@"):
        try:
            return Path(user_path(value))
        except ValueError as error:
            raise UsageError(f"--flagfile={error}") from error
    paths = recipes()
    if value[1:] not in paths:
        names = ", ".join(f"@{name}" for name in paths)
        raise UsageError(
            f"--flagfile={shortened(value)}: no such recipe. Expected one of {names}, or the path "
            "of a file."
        )
    return paths[value[1:]]


def _lines(path: Path) -> list[str]:
    try:
        # Of a pipe, too, and never all of a device that has no end.
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"more than {_MOST_BYTES >> 10} KiB")
        text = data.decode("utf-8-sig")  # editors of Windows write a mark first
        if "\0" in text:
            raise OSError(errno.EINVAL, "not UTF-8 text but bytes of zero")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(
            f"--flagfile={path}: cannot be read ({reason}). Give the path of a text file, or "
            "the name of a recipe, for example @resnet50."
        ) from error
    # Not `splitlines`, which cuts a value at a form feed and at the line ends of other scripts.
    lines = (line.strip() for line in _LINE_END.split(text))
    return [line for line in lines if line and not line.startswith(_COMMENTS)]
