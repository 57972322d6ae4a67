"""Pseudonyms: ids are stored as keyed hashes; without a key, RSNA's are stored unchanged."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.permissions import check_secret_file

_RSNA_ID = re.compile(r"ID_[0-9a-f]{6,12}")
_PUBLIC_KEY = b"ich_tf"
# No id has a zero byte.
_FINGERPRINTED = b"\0fingerprint of this key"


def read_hash_key(path: str) -> bytes:
    """Reads the secret under which ids are hashed.

    Args:
      path: Path of the file with the secret; empty for the public key.

    Returns:
      The secret without surrounding white space; empty for the public key.

    Raises:
      InputError: If there is no such file, it holds less than 16 bytes, or others may read it.
    """
    if not path:
        return b""
    check_secret_file(path, "--hash_key_file")
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); --hash_key_file names a file with a "
            "secret."
        ) from error
    if len(key) < 16:
        raise InputError(f"{path}: holds {len(key)} bytes; a secret needs 16 or more.")
    return key


def key_fingerprint(key: bytes) -> str:
    """Text by which a key is known again, and that does not tell it; empty for the public key."""
    return hmac.new(key, _FINGERPRINTED, hashlib.sha256).hexdigest()[:16] if key else ""


def pseudonym(identifier: str, key: bytes = b"") -> str:
    """Pseudonym of an id.

    Args:
      identifier: Id of a patient, study, series or image.
      key: Secret under which ids are hashed; empty for the public key.

    Returns:
      `H` and 24 hexadecimal digits of the id's HMAC-SHA256; under the public key RSNA's ids
      unchanged.

    Examples:
      >>> pseudonym("ID_00a1b2c3d"), pseudonym("1.2.840.113619")[:1]
      ('ID_00a1b2c3d', 'H')
    """
    if not key and _RSNA_ID.fullmatch(identifier):
        return identifier
    digest = hmac.new(
        key or _PUBLIC_KEY, identifier.encode(errors="surrogateescape"), hashlib.sha256
    )
    return f"H{digest.hexdigest()[:24]}"
