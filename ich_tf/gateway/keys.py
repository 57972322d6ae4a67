"""Keys by which the queue knows studies and instances: hashes with a secret of the state folder.

Without the secret nobody can tell whether a given patient or study is in the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.permissions import check_secret_file
from ich_tf.runtime.writing import writing

SECRET = "secret"
_SECRET_BYTES = 32
# 128 bits: no two of a trillion instances share a key.
_KEY_BYTES = 16


class Keys:
    """Keyed hashes of ids."""

    def __init__(self, secret: bytes) -> None:
        """Takes the secret."""
        self._secret = secret

    @classmethod
    def open(cls, folder: Path, *, is_new: bool) -> Keys:
        """Reads the secret of a state folder, or makes that of a new one.

        Args:
          folder: The state folder.
          is_new: Whether there is no database yet.

        Raises:
          InputError: If it is missing, or cannot be read or written.
        """
        path = folder / SECRET
        with writing(path):
            if is_new and not path.exists():
                write_bytes(path, [secrets.token_bytes(_SECRET_BYTES)], is_private=True)
            check_secret_file(path, "the gateway's key")
            secret = path.read_bytes() if path.exists() else b""
        if len(secret) != _SECRET_BYTES:
            raise InputError(
                f"{path}: holds {len(secret)} bytes; expected {_SECRET_BYTES}. Restore it, or give "
                "another keep.state_dir: without it no study of the queue is known again."
            )
        return cls(secret)

    def study(self, study_uid: str, patient_id: str) -> bytes:
        """Key of a study: a UID alone could be another patient's by mistake."""
        return self._hash("study", study_uid, patient_id)

    def study_uid(self, study_uid: str) -> bytes:
        """Key of a StudyInstanceUID, of whatever patient."""
        return self._hash("study uid", study_uid)

    def instance(self, study_uid: str, sop_uid: str) -> bytes:
        """Key of an instance in a study."""
        return self._hash("instance", study_uid, sop_uid)

    def _hash(self, *parts: str) -> bytes:
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256)[:_KEY_BYTES]
