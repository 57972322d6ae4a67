"""Tokens: secrets of one line in files that others on the machine cannot read."""

from __future__ import annotations

from pathlib import Path

from ich_tf.errors import ConfigError
from ich_tf.runtime.permissions import check_secret_file

# A shorter one can be guessed.
MIN_TOKEN = 16


def read_token(path: str | Path) -> str:
    """Reads a secret from a file of one line.

    Args:
      path: The file; empty for no secret.

    Returns:
      The secret; empty without a file.

    Raises:
      ConfigError: If it cannot be read, is too short to be a secret, or others may read it.
    """
    if not path:
        return ""
    check_secret_file(path, "token_file", ConfigError)
    try:
        token = Path(path).read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: the token cannot be read ({error.strerror}).") from error
    # Without its cause: that one holds all of the file.
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the token must be of ASCII characters.") from None
    if len(token) < MIN_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{path}: holds a token of {len(token)} characters; expected one line of {MIN_TOKEN} "
            "characters or more, without spaces. Make one: openssl rand -hex 32."
        )
    return token
