"""Permissions: who may read what a process creates, and files of secrets that others could read.

Commands narrow their umask, which reaches all that they and their processes create, by whatever
library. What holds keys or ids for a while is private with any umask (`private_opener`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ich_tf.errors import InputError

# Who may read results -> permissions that files and folders never get. Nobody else may ever write.
READERS = {"owner": 0o077, "group": 0o027, "everyone": 0o022}
OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700
_OTHERS = 0o077


def restrict(readers: str) -> None:
    """Has this process, and those that it starts, create files for some readers alone.

    Permissions that the umask takes away already stay away.

    Args:
      readers: `owner`, `group` or `everyone`.
    """
    os.umask(os.umask(_OTHERS) | READERS[readers])


def private_opener(path: str, flags: int) -> int:
    """Opener for `open` that makes a file for its owner alone, and follows no link.

    Examples:
      with open(path, "xb", opener=private_opener) as file:
          ...
    """
    return os.open(path, flags | os.O_NOFOLLOW, OWNER_ONLY)


def own_file(path: Path) -> None:
    """Makes a file for this user alone, or checks that an existing one is.

    For a file with a name that others can foresee, in a folder that they may write: a link that
    lies there would lead the writer to another file.

    Args:
      path: File that a library will open for writing.

    Raises:
      InputError: If it is a link, no regular file, or another user's.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, OWNER_ONLY)
    try:
        check_own(path, descriptor)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & _OTHERS:
            os.fchmod(descriptor, OWNER_ONLY)
    finally:
        os.close(descriptor)


def check_own(path: Path, descriptor: int, *, any_owner: bool = False) -> None:
    """Checks that an open file is a regular one, with one name, of this user.

    Args:
      path: Its path, for the message.
      descriptor: The open file.
      any_owner: Whether it may be another user's.

    Raises:
      InputError: If it is something else.
    """
    facts = os.fstat(descriptor)
    is_own = any_owner or facts.st_uid == os.geteuid()
    if not (stat.S_ISREG(facts.st_mode) and facts.st_nlink <= 1 and is_own):
        raise InputError(
            f"{path}: is not a file of this user alone, but something that another program or user "
            "has put there. Remove it, or write to a folder of your own."
        )


def check_secret_file(path: str | Path, name: str, kind: type[Exception] = InputError) -> None:
    """Refuses a file of a secret that others on the machine may read, as ssh does.

    Only a file of this user is looked at: what an administrator or a container's runtime puts
    there, such as /run/secrets, is theirs to protect.

    Args:
      path: The file; one that is not there is left to its reader.
      name: Name of the option, for the message.
      kind: Class of the error.

    Raises:
      InputError: If group or others may read or write it; or an error of the class `kind`.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - of whatever type the path is
    except (OSError, ValueError):
        return
    mode = stat.S_IMODE(facts.st_mode)
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISFIFO(facts.st_mode)):
        raise kind(f"{name} {path}: is no file of a secret, but a folder or device.")
    if facts.st_uid == os.geteuid() and mode & _OTHERS:
        raise kind(
            f"{name} {path}: other users of this machine may read or write it (mode {mode:o}); "
            f"expected 600. Run chmod 600 {path}; if others had access to it, make a new secret."
        )
