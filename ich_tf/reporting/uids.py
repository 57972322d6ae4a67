"""UIDs that follow from what an object is made of, so that the same input gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


def derived_uid(*parts: object) -> str:
    """Makes a UID that follows from texts or numbers (PS3.5 B.2).

    Examples:
      >>> derived_uid("a", 1) == derived_uid("a", 1) != derived_uid("a", 2)
      True
    """
    data = "/".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f"2.25.{int.from_bytes(hashlib.sha256(data).digest()[:16], 'big')}"


@dataclass(frozen=True)
class ResultUids:
    """UIDs of the objects that one model makes of one series.

    Attributes:
      key: Hash of everything that the objects depend on.
    """

    key: str

    @classmethod
    def of(cls, image_ids: Iterable[str], *options: str) -> ResultUids:
        """Derives the key from the source images and from what is done with them.

        Args:
          image_ids: SOP instance UIDs of the source images, with the frame where there are several;
            in any order, an image that comes twice being two.
          options: Hashes and settings that the content depends on.
        """
        digest = hashlib.sha256()
        for text in (*sorted(image_ids), "", *options):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return cls(digest.hexdigest())

    def uid(self, *parts: object) -> str:
        """Makes the UID of an object, of a series of objects, or of a part of one."""
        return derived_uid(self.key, *parts)
