"""Files of a study's images, and the rows that say that they are its own."""

from __future__ import annotations

from ich_tf.errors import InputError
from ich_tf.gateway.database import Database
from ich_tf.gateway.folders import Folders, remove


def remove_unknown(database: Database, folders: Folders, number: int) -> tuple[int, int]:
    """Deletes files without a row: they were not acknowledged, and may be another patient's.

    Args:
      database: The database of the queue.
      folders: The state folder.
      number: Number of the study.

    Returns:
      Number of the study's images, and of those whose file is gone.

    Raises:
      OSError: If a file cannot be deleted.
      StateError: If the database cannot be read.
    """
    # Within the transaction: a file that is put into place now will have its row after it.
    with database.transaction() as rows:
        keys = rows.execute(
            "SELECT key FROM instance WHERE study = ? AND kind = 'image'", (number,)
        ).fetchall()
        known = {folders.image(number, key) for (key,) in keys}
        folder = folders.images(number)
        stored = set(folder.iterdir()) if folder.is_dir() else set()
        for path in stored - known:
            remove(path)
    return len(known), len(known - stored)


def check_images(database: Database, folders: Folders, number: int) -> None:
    """Checks that a study's folder holds its images and no others, before they are predicted.

    Args:
      database: The database of the queue.
      folders: The state folder.
      number: Number of the study.

    Raises:
      InputError: If an image is gone.
      OSError: If a file cannot be deleted.
      StateError: If the database cannot be read.
    """
    known, gone = remove_unknown(database, folders, number)
    if gone:
        raise InputError(
            f"{gone} of {known} images are gone from {folders.images(number)}. Restore them, and "
            "try again."
        )
