"""Config of a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ich_tf.errors import ConfigError
from ich_tf.inference.config import model_option, precision_option
from ich_tf.runtime.addresses import is_loopback, is_sub_path
from ich_tf.runtime.options import check_options, option
from ich_tf.runtime.tokens import MIN_TOKEN, read_token
from ich_tf.serving.limits import Limits


@dataclass(frozen=True)
class ServeConfig:
    """Options of a server: each is a flag of ich_tf.serve, with its help.

    Raises:
      ConfigError: If an option is out of range, or other machines could reach the server without
        a token.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "work_dir": "Model and address",
        "state_dir": "Folders",
        "series": "Prediction",
        "body_mb": "Limits",
    }

    work_dir: str = model_option()
    host: str = option(
        "127.0.0.1", "Address to listen on; other addresses than loopback need --token_file."
    )
    port: int = option(
        8000, "Port to listen on; 0 for a free one, which is printed.", within="[0, 65535]"
    )
    root_path: str = option(
        "",
        "Sub-path under which a proxy serves the page and the API, such as /ich; the proxy may "
        "remove it from requests or not. Empty: none.",
    )
    token_file: str = option(
        "",
        "File of the token that clients have to send, as Authorization: Bearer TOKEN: one line of "
        "16 characters or more, which no other user may read (chmod 600). Empty: no token.",
        is_path=True,
    )
    token: str = option(
        "",
        "The token itself, in a --flagfile; on the command line, which every user of the machine "
        "can read, it is refused.",
        is_secret=True,
    )
    state_dir: str = option(
        "",
        "Folder for the server's studies. Empty: serve in --work_dir; of a bundle NAME.zip, in "
        "NAME_results beside it.",
        is_path=True,
    )
    samples_dir: str = option(
        "",
        "Folder of sample studies, each a folder of DICOM files. Empty: no samples.",
        is_path=True,
    )
    series: str = option(
        "best",
        "Series to show. best: one a study, the plain axial one with a soft kernel and slices near "
        "5 mm; all: every series; or conditions as those of ich_tf.predict.",
    )
    list_studies: bool = option(
        False,
        "Let everyone who may ask list all studies that are kept. Without it a study is found by "
        "who has its key alone.",
    )
    keep_ids: bool = option(
        False,
        "Keep the SOPInstanceUIDs of slices, and return them in results. Without it a slice is "
        "named by the number of its file in the upload alone.",
    )
    calibrated: bool = option(True, "Apply the calibration.json of --work_dir, if there is one.")
    batch_size: int = option(32, "Slices in a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()
    body_mb: int = option(
        Limits.body_mb, "Maximum size of an upload as it is sent, MiB.", within="[1, inf)"
    )
    unpacked_mb: int = option(
        Limits.unpacked_mb, "Maximum size of an upload once unpacked, MiB.", within="[1, inf)"
    )
    files: int = option(
        Limits.files, "Maximum number of files in an upload, once unpacked.", within="[1, inf)"
    )
    decoders: int = option(
        Limits.decoders, "Number of processes that decode DICOM files.", within="[1, inf)"
    )
    queue: int = option(
        Limits.queue,
        "Maximum number of studies that wait or are worked on; further uploads are answered by "
        "503.",
        within="[1, inf)",
    )
    uploads: int = option(
        Limits.uploads,
        "Maximum number of uploads that are received at the same time; further ones are answered "
        "by 503.",
        within="[1, inf)",
    )
    min_free_mb: int = option(
        Limits.min_free_mb,
        "Free space of the disk below which the oldest studies are deleted for a new upload, MiB; "
        "where that is not enough, uploads are answered by 507.",
        within="[1, inf)",
    )
    kept_studies: int = option(
        Limits.kept_studies, "Maximum number of finished studies that are kept.", within="[1, inf)"
    )
    kept_minutes: int = option(
        60, "Time that a finished study is kept, minutes.", within="[1, inf)"
    )

    def __post_init__(self) -> None:
        check_options(self)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)
        if self.root_path and not is_sub_path(self.root_path):
            raise ConfigError(
                f"root_path is {self.root_path!r}; expected a path such as /ich: a slash first, "
                "none last, and letters, digits, '-', '_', '.' and '~' between."
            )
        if self.token and len(self.token) < MIN_TOKEN:
            raise ConfigError(
                f"token has {len(self.token)} characters; expected {MIN_TOKEN} or more."
            )
        if self.token and self.token_file:
            raise ConfigError("token and token_file are both given; expected one of them.")
        if not (self.token or self.token_file or self.is_loopback):
            raise ConfigError(
                f"host is {self.host!r}, which other machines may reach; expected 127.0.0.1, or a "
                "token beside it. Give --token_file, and put an HTTPS proxy in front."
            )

    def read_token(self) -> str:
        """Token that clients have to send; empty for none.

        Raises:
          ConfigError: If its file cannot be read, or others may read it.
        """
        return self.token or read_token(self.token_file)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def state_path(self) -> Path:
        """Folder of the server's studies."""
        from ich_tf.models.bundle import results_folder

        return Path(self.state_dir or results_folder(self.work_dir) / "serve")

    @property
    def limits(self) -> Limits:
        """Limits of the server."""
        return Limits(
            body_mb=self.body_mb,
            unpacked_mb=self.unpacked_mb,
            files=self.files,
            decoders=self.decoders,
            queue=self.queue,
            uploads=self.uploads,
            min_free_mb=self.min_free_mb,
            kept_studies=self.kept_studies,
            kept_seconds=60.0 * self.kept_minutes,
        )
