"""Pseudonyms: RSNA's ids are stored unchanged, any other id as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from ich_tf.errors import InputError

_RSNA_ID = re.compile(r"ID_[0-9a-f]{6,12}")
_PUBLIC_KEY = b"ich_tf"


def read_hash_key(path: str) -> bytes:
    """Reads the secret under which ids are hashed.

    Args:
      path: Path of the file with the secret; empty for the public key.

    Returns:
      The secret without surrounding white space; empty for the public key.

    Raises:
      InputError: If there is no such file, or it holds less than 16 bytes.
    """
    if not path:
        return b""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; --hash_key_file names a file with a secret.")
    key = Path(path).read_bytes().strip()
    if len(key) < 16:
        raise InputError(f"{path}: holds {len(key)} bytes; a secret needs 16 or more.")
    return key


def pseudonym(identifier: str, key: bytes = b"") -> str:
    """Pseudonym of an id.

    Args:
      identifier: Id of a patient, study, series or image.
      key: Secret under which ids are hashed; empty for the public key.

    Returns:
      RSNA's ids unchanged; of others `H` and 24 hexadecimal digits of their HMAC-SHA256.

    Examples:
      >>> pseudonym("ID_00a1b2c3d"), pseudonym("1.2.840.113619")[:1]
      ('ID_00a1b2c3d', 'H')
    """
    if _RSNA_ID.fullmatch(identifier):
        return identifier
    digest = hmac.new(
        key or _PUBLIC_KEY, identifier.encode(errors="surrogateescape"), hashlib.sha256
    )
    return f"H{digest.hexdigest()[:24]}"
