"""run.json of a work dir: what a run was trained on, what it started from, and its sessions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models.run_files import RUN
from ich_tf.runtime.files import read_json
from ich_tf.runtime.json_types import read_value


@dataclasses.dataclass(frozen=True)
class Session:
    """A start of a run, as far as people are told of it.

    Attributes:
      started: Time, UTC.
      python: Version of Python.
      versions: Versions of packages, by name.
      git_commit: Commit of the checkout; None if there is none.
      cpu: Name of the processor.
      gpus: Names of the GPUs.
      precision: Precision of the training.
    """

    started: str = "unknown"
    python: str = "unknown"
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    git_commit: str | None = None
    cpu: str = "unknown"
    gpus: tuple[str, ...] = ()
    precision: str = "unknown"


def read_run(work_dir: str | Path, advice: str = "") -> dict[str, Any]:
    """Reads run.json.

    Args:
      work_dir: Folder of the run.
      advice: Sentence to end an error message with: what the user should do.

    Returns:
      Its content, in which the data have a hash, the id is text, and each session one of
      `read_sessions`.

    Raises:
      InputError: If the file is missing, damaged, or describes something else.
    """
    path = Path(work_dir) / RUN
    content: dict[str, Any] = read_json(path, advice)
    try:
        data = content["data"]
        texts = [data["sha256"], data.get("slices_sha256", ""), content.get("id", "")]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("entries of other types")
        read_sessions(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: does not describe a run ({error!r}). {advice}".rstrip()
        ) from error
    return content


def read_sessions(run: dict[str, Any]) -> list[Session]:
    """Reads the starts of a run.

    Args:
      run: Content of run.json.

    Raises:
      ValueError: If they are something else.
    """
    return list(read_value(tuple[Session, ...], run.get("sessions", []), "sessions"))
