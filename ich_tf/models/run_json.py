"""run.json of a work dir: what a run was trained on, what it started from, and its sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models.run_files import RUN
from ich_tf.runtime.files import read_json


def read_run(work_dir: str | Path, advice: str = "") -> dict[str, Any]:
    """Reads run.json.

    Args:
      work_dir: Folder of the run.
      advice: Sentence to end an error message with: what the user should do.

    Returns:
      Its content, in which the data have a hash, the id is text, and each session is an object.

    Raises:
      InputError: If the file is missing, damaged, or describes something else.
    """
    path = Path(work_dir) / RUN
    content: dict[str, Any] = read_json(path, advice)
    try:
        sessions = content.get("sessions", [])
        texts = [content["data"]["sha256"], content.get("id", "")]
        if not isinstance(sessions, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("entries of other types")
        if not all(isinstance(session, dict) for session in sessions):
            raise TypeError("sessions that are no objects")
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: does not describe a run ({error!r}). {advice}".rstrip()
        ) from error
    return content
