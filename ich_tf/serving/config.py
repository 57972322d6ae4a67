"""How a server is started: a frozen config, validated at construction."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ich_tf.errors import ConfigError
from ich_tf.serving.limits import Limits

# A token that can be guessed is none.
_LEAST_TOKEN = 16


def _flag(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class ServeConfig:
    """One server; each field is a flag of ich_tf.serve, described there.

    Raises:
      ConfigError: If a field is out of range, or strangers could reach the server without a token.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model and address",
        "state_dir": "Folders",
        "calibrated": "Prediction",
        "body_mb": "Limits",
    }

    work_dir: str = _flag("runs/resnet50", "The folder of the trained model.")
    host: str = _flag("127.0.0.1", "Address to listen on; others than loopback need --token.")
    port: int = _flag(8000, "Port to listen on; 0 takes a free one, and says which.")
    token: str = _flag(
        "",
        "What a client has to send, as Authorization: Bearer TOKEN; 16 characters or more. Better "
        "in a --flagfile than on the command line, which every user of the machine can read.",
    )
    state_dir: str = _flag("", "Folder for the studies of the server. Empty: serve in --work_dir.")
    samples_dir: str = _flag(
        "", "Folder whose folders of DICOM files the page offers as samples. Empty offers none."
    )
    calibrated: bool = _flag(True, "Apply the calibration.json of --work_dir, if there is one.")
    batch_size: int = _flag(32, "Slices a step.")
    body_mb: int = _flag(Limits.body_mb, "Largest upload as it is sent, MiB.")
    unpacked_mb: int = _flag(Limits.unpacked_mb, "Largest upload once unpacked, MiB.")
    files: int = _flag(Limits.files, "Most files of an upload, once unpacked.")
    decoders: int = _flag(Limits.decoders, "Processes that decode DICOM files.")
    queue: int = _flag(
        Limits.queue, "Most studies that are uploaded, wait or are worked on; more are told 503."
    )
    kept_studies: int = _flag(Limits.kept_studies, "Most finished studies kept.")
    kept_minutes: int = _flag(60, "How long a finished study is kept.")

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; expected 0 to 65535.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; expected 1 or more.")
        if self.token and len(self.token) < _LEAST_TOKEN:
            raise ConfigError(
                f"token has {len(self.token)} characters; expected {_LEAST_TOKEN} or more."
            )
        if not self.token and not self.is_loopback:
            raise ConfigError(
                f"host is {self.host!r}, which other machines may reach; expected 127.0.0.1, or a "
                "token beside it. Give --token, and put an HTTPS proxy in front."
            )
        _ = self.limits

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def state_path(self) -> Path:
        """Where the server keeps its studies."""
        return Path(self.state_dir or Path(self.work_dir) / "serve")

    @property
    def limits(self) -> Limits:
        """What the server takes and keeps."""
        return Limits(
            body_mb=self.body_mb,
            unpacked_mb=self.unpacked_mb,
            files=self.files,
            decoders=self.decoders,
            queue=self.queue,
            kept_studies=self.kept_studies,
            kept_seconds=60.0 * self.kept_minutes,
        )
