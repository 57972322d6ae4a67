"""Clutter: files that systems leave beside others, and that are no inputs."""

from __future__ import annotations

# In any spelling of upper and lower case; DICOMDIR is the index of a disc.
_FILES = ("DICOMDIR", "THUMBS.DB", "DESKTOP.INI")
_FOLDER = "__MACOSX"


def is_clutter(name: str) -> bool:
    """Whether a file is no input by its name: hidden, of macOS or Windows, or a DICOMDIR.

    Args:
      name: Path of the file, with forward or backward slashes.

    Examples:
      >>> [is_clutter(name) for name in ("a/Thumbs.db", "__MACOSX/._a", "a/.git/b", "../a.dcm")]
      [True, True, True, False]
    """
    parts = name.replace("\\", "/").split("/")
    return parts[-1].upper() in _FILES or any(map(is_clutter_folder, parts))


def is_clutter_folder(part: str) -> bool:
    """Whether all that a folder holds is clutter, by the folder's own name."""
    # Hidden files and folders, AppleDouble's `._*` among them.
    return part == _FOLDER or (part.startswith(".") and part not in (".", ".."))
