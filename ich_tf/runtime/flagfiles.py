"""Files of flags, one a line: those of a user, and the recipes that come with ich_tf as @name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ich_tf.errors import UsageError

# In a wheel within the package, in a checkout beside it.
_FOLDERS = tuple(Path(__file__).parents[depth] / "configs" for depth in (1, 2))
_SUFFIX = ".flags"
_COMMENTS = ("#", "//")


def recipes() -> dict[str, Path]:
    """The recipes that come with ich_tf, by name."""
    folder = next((one for one in _FOLDERS if one.is_dir()), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob(f"*{_SUFFIX}"))}


def expand(arguments: Sequence[str]) -> list[str]:
    """Puts the flags of files in the place of `--flagfile=FILE` and `--flagfile=@NAME`.

    They come before all other flags, wherever the file is named, so that a flag on the command
    line wins over the same flag in a file. A file may name others, and wins over them likewise. A
    line is one flag, as it would stand on the command line without quotes; a comment begins its
    line with # or //.

    Args:
      arguments: Of a program, without its name.

    Raises:
      UsageError: If a file cannot be read, names itself, or there is no such recipe.
    """
    return _expanded(arguments, ())


def _expanded(arguments: Sequence[str], within: tuple[Path, ...]) -> list[str]:
    of_files: list[str] = []
    own: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            own += [argument, *rest]
            break
        name, is_joined, value = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            own.append(argument)
            continue
        if not is_joined:
            value = next(rest, "")
        path = _path(value)
        if path.resolve() in within:
            raise UsageError(f"--flagfile={value}: names itself. Remove that line.")
        of_files += _expanded(_lines(path), (*within, path.resolve()))
    return of_files + own


def _path(value: str) -> Path:
    if not value.startswith("@"):
        return Path(value).expanduser()
    known = recipes()
    if value[1:] not in known:
        raise UsageError(
            f"--flagfile={value}: no such recipe; there are {', '.join(f'@{one}' for one in known)}"
            ". Give one of them, or the path of a file."
        )
    return known[value[1:]]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UsageError(
            f"--flagfile={path}: cannot be read ({reason}). Give the path of a readable file, or "
            "the name of a recipe, as @resnet50."
        ) from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(_COMMENTS)]
