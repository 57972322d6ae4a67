"""Ids as they are stored: RSNA's as they are, any other as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from ich_tf.errors import InputError

_RSNA_ID = re.compile(r"ID_[0-9a-f]{6,12}")
_PUBLIC_KEY = b"ich_tf"


def read_hash_key(path: str) -> bytes:
    """The secret of a file; empty, the public key, where no file is named.

    Raises:
      InputError: If there is no such file, or it holds too little.
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
    """An id as it is stored."""
    if _RSNA_ID.fullmatch(identifier):
        return identifier
    digest = hmac.new(key or _PUBLIC_KEY, identifier.encode(), hashlib.sha256)
    return f"H{digest.hexdigest()[:24]}"
