"""Config of a gateway: the sections of its TOML file, each a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ich_tf.errors import ConfigError
from ich_tf.gateway.config_checks import (
    check_host,
    check_listening,
    check_title,
    check_url,
    plain_advice,
)
from ich_tf.inference.config import model_option, precision_option
from ich_tf.runtime.addresses import is_loopback, is_sub_path
from ich_tf.runtime.options import check_options, option, require

_MIB = 1024 * 1024
_ALLOW_PLAIN = "Whether patients' data may leave this machine without TLS."


@dataclass(frozen=True)
class ModelSection:
    """`[model]`: what predicts."""

    work_dir: str = model_option()
    series: str = option("best", "Series to predict, as those of ich_tf.predict.")
    calibrated: bool = option(True, "Apply the calibration.json of work_dir, if there is one.")
    batch_size: int = option(32, "Number of slices a batch.", within="[1, inf)")
    mixed_precision: str = precision_option()
    num_workers: int = option(
        0, "Number of processes that read DICOM files. 0: one per core.", within="[0, 1024]"
    )

    def __post_init__(self) -> None:
        check_options(self)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)


@dataclass(frozen=True)
class ReceiverSection:
    """`[receiver]`: C-STORE and C-ECHO."""

    enabled: bool = option(False, "Listen for DIMSE.")
    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(11112, "Port; 0 for a free one, which is logged.", within="[0, 65535]")
    ae_title: str = option("ICH_TF", "AE title of the gateway; calls to others are rejected.")
    calling_ae_titles: tuple[str, ...] = option((), "AE titles that may call.")
    tls: bool = option(False, "Take TLS connections only, with the files of [tls].")
    allow_plain: bool = option(False, _ALLOW_PLAIN)

    def __post_init__(self) -> None:
        check_options(self)
        for title in (self.ae_title, *self.calling_ae_titles):
            check_title("ae_title" if title == self.ae_title else "calling_ae_titles", title)
        if self.enabled:
            titles = self.calling_ae_titles
            require(bool(titles), "calling_ae_titles", list(titles), "one title or more")
            check_listening(self.host, is_safe=self.tls or self.allow_plain)


@dataclass(frozen=True)
class StowSection:
    """`[stow]`: studies by STOW-RS, at the address of `[http]`."""

    enabled: bool = option(False, "Take studies at /dicom-web/studies.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class PollSection:
    """`[poll]`: studies by QIDO-RS and WADO-RS."""

    enabled: bool = option(False, "Ask an archive for new studies.")
    url: str = option("", "Root of the archive's DICOMweb, such as https://pacs/dicom-web.")
    token_file: str = option("", "File of the bearer token to send.", is_path=True)
    every_seconds: float = option(
        30.0, "Time from one question to the next.", within="[1, 1000000]"
    )
    days: int = option(
        2,
        "Days of StudyDate to ask for, with today; 2: last night's studies, too.",
        within="[1, 31]",
    )
    timeout_seconds: float = option(30.0, "Longest time without a byte.", within="(0, 1000000]")
    allow_plain: bool = option(False, _ALLOW_PLAIN)

    def __post_init__(self) -> None:
        check_options(self)
        if self.enabled or self.url:
            needed_by = "enabled is true"
            check_url("url", self.url, allow_plain=self.allow_plain, needed_by=needed_by)


@dataclass(frozen=True)
class DestinationSection:
    """`[destination]`: where results go."""

    kind: str = option(
        "none",
        "none: results are listed and not sent; dimse: C-STORE; dicomweb: STOW-RS.",
        ("none", "dimse", "dicomweb"),
    )
    host: str = option("127.0.0.1", "dimse: address of the archive.")
    port: int = option(104, "dimse: port of the archive.", within="[1, 65535]")
    ae_title: str = option("ARCHIVE", "dimse: AE title of the archive.")
    calling_ae_title: str = option("ICH_TF", "dimse: AE title that the gateway calls itself.")
    tls: bool = option(False, "dimse: connect by TLS, with the files of [tls].")
    url: str = option("", "dicomweb: root of the archive's DICOMweb.")
    token_file: str = option("", "dicomweb: file of the bearer token to send.", is_path=True)
    timeout_seconds: float = option(30.0, "Longest time without an answer.", within="(0, 1000000]")
    first_retry_seconds: float = option(
        10.0, "Time to the second attempt; doubled at each one after it.", within="(0, 1000000]"
    )
    max_retry_seconds: float = option(
        900.0, "Longest time from one attempt to the next.", within="(0, 1000000]"
    )
    give_up_hours: float = option(
        24.0, "Time after which a study that cannot be sent is failed.", within="(0, 1000000]"
    )
    allow_plain: bool = option(False, _ALLOW_PLAIN)

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("ae_title", "calling_ae_title"):
            check_title(name, getattr(self, name))
        if self.kind == "dicomweb":
            needed_by = "kind is dicomweb"
            check_url("url", self.url, allow_plain=self.allow_plain, needed_by=needed_by)
        if self.kind == "dimse":
            check_host("host", self.host)
            is_safe = self.tls or self.allow_plain or is_loopback(self.host)
            require(is_safe, "tls", self.tls, plain_advice(self.host))


@dataclass(frozen=True)
class TlsSection:
    """`[tls]`: certificates of the receiver, of `[http]`, and of connections to archives."""

    certificate_file: str = option("", "Certificate of the gateway, PEM.", is_path=True)
    key_file: str = option("", "Its private key, PEM without a passphrase.", is_path=True)
    ca_file: str = option(
        "", "Certificates of authorities to trust, PEM. Empty: those of the system.", is_path=True
    )
    require_client_certificate: bool = option(
        True, "The receiver takes only clients with a certificate of ca_file."
    )

    def __post_init__(self) -> None:
        check_options(self)
        is_pair = bool(self.certificate_file) == bool(self.key_file)
        require(is_pair, "key_file", self.key_file, "given together with certificate_file")


@dataclass(frozen=True)
class LimitsSection:
    """`[limits]`: what one sender can use up."""

    associations: int = option(10, "Associations at the same time.", within="[1, 1000]")
    idle_seconds: float = option(
        30.0, "Longest silence of an association, or of an HTTP body.", within="(0, 1000000]"
    )
    association_minutes: float = option(
        30.0, "Longest time of an association, or of an HTTP body.", within="(0, 1000000]"
    )
    instance_mb: int = option(512, "Largest file, MiB.", within="[1, inf)")
    association_mb: int = option(
        8192, "Largest sum of files of an association, or of an HTTP body, MiB.", within="[1, inf)"
    )
    study_mb: int = option(4096, "Largest sum of files of a study, MiB.", within="[1, inf)")
    study_instances: int = option(5000, "Most files of a study.", within="[1, inf)")
    studies: int = option(
        1000, "Most studies that come in or wait for prediction.", within="[1, inf)"
    )
    free_mb: int = option(
        # Below 16 MiB the queue, which has to grow before anything is deleted, would stand still.
        2048,
        "Space of the disk that is left free; below it files are refused.",
        within="[16, inf)",
    )

    def __post_init__(self) -> None:
        check_options(self)

    def num_bytes(self, name: str) -> int:
        """A limit given in MiB, such as `study_mb`, in bytes."""
        return int(getattr(self, name)) * _MIB


@dataclass(frozen=True)
class StudySection:
    """`[study]`: when a study is handled, and what it is called."""

    stable_seconds: float = option(
        60.0, "Time without a new image after which a study is complete.", within="[0, 1000000]"
    )
    late: str = option(
        "list",
        "Images of a study that was handled. list: counted in the worklist; again: the study is "
        "handled again with all its images, while they are kept (see [keep]).",
        ("list", "again"),
    )
    other_objects: str = option(
        "refuse",
        "Objects that are no CT images. refuse: with a status; ignore: acknowledged, not stored.",
        ("refuse", "ignore"),
    )
    identify_by: str = option(
        "number",
        "Name of a study in the worklist, the queue's database and the webhook. number: the "
        "queue's number alone; accession: also its accession number and StudyInstanceUID.",
        ("number", "accession"),
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class KeepSection:
    """`[keep]`: what is stored, and how long."""

    state_dir: str = option(
        "runs/gateway", "Folder of the queue, the images and the results.", is_path=True
    )
    images_hours: float = option(
        0.0,
        "Time that images are kept after a study is sent. 0: not at all.",
        within="[0, 1000000]",
    )
    failed_hours: float = option(
        24.0, "Time that images and results of a failed study are kept.", within="[0, 1000000]"
    )
    rows_days: float = option(
        30.0,
        "Time that a study stays in the worklist and is not handled again.",
        within="(0, 36500]",
    )

    def __post_init__(self) -> None:
        check_options(self)
        require(bool(self.state_dir), "state_dir", self.state_dir, "not empty")


@dataclass(frozen=True)
class HttpSection:
    """`[http]`: health, metrics, the worklist, and STOW-RS where `[stow]` is enabled."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8100, "Port; 0 for a free one, which is logged.", within="[0, 65535]")
    token_file: str = option(
        "", "File of the token that clients send, 16 characters or more.", is_path=True
    )
    tls: bool = option(False, "Answer by HTTPS only, with the files of [tls].")
    root_path: str = option("", "Path under which a proxy serves it, such as /ich.")
    allow_plain: bool = option(False, _ALLOW_PLAIN)

    def __post_init__(self) -> None:
        check_options(self)
        is_path = not self.root_path or is_sub_path(self.root_path)
        require(is_path, "root_path", self.root_path, "empty, or a path such as /ich")
        check_listening(self.host, is_safe=self.tls or self.allow_plain)
        if not is_loopback(self.host):
            require(bool(self.token_file), "token_file", self.token_file, f"given, for {self.host}")


@dataclass(frozen=True)
class WebhookSection:
    """`[webhook]`: a POST of JSON for each study that is done or failed."""

    url: str = option("", "Address of the POST. Empty: none.")
    token_file: str = option("", "File of the bearer token to send.", is_path=True)
    timeout_seconds: float = option(10.0, "Longest time without an answer.", within="(0, 1000000]")
    allow_plain: bool = option(False, _ALLOW_PLAIN)

    def __post_init__(self) -> None:
        check_options(self)
        if self.url:
            check_url("url", self.url, allow_plain=self.allow_plain)


@dataclass(frozen=True)
class GatewayConfig:
    """All sections.

    Raises:
      ConfigError: If sections contradict each other; each section checks its own keys.
    """

    model: ModelSection = field(default_factory=ModelSection)
    receiver: ReceiverSection = field(default_factory=ReceiverSection)
    stow: StowSection = field(default_factory=StowSection)
    poll: PollSection = field(default_factory=PollSection)
    destination: DestinationSection = field(default_factory=DestinationSection)
    tls: TlsSection = field(default_factory=TlsSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    study: StudySection = field(default_factory=StudySection)
    keep: KeepSection = field(default_factory=KeepSection)
    http: HttpSection = field(default_factory=HttpSection)
    webhook: WebhookSection = field(default_factory=WebhookSection)

    def __post_init__(self) -> None:
        if not (self.receiver.enabled or self.stow.enabled or self.poll.enabled):
            raise ConfigError(
                "no study can come in: receiver.enabled, stow.enabled and poll.enabled are false. "
                "Enable one of them."
            )
        for name in ("receiver", "http"):
            if getattr(self, name).tls and not self.tls.certificate_file:
                raise ConfigError(
                    f"{name}.tls is true, and tls.certificate_file is empty; give the gateway's "
                    "certificate and its key."
                )
        if self.receiver.tls and self.tls.require_client_certificate and not self.tls.ca_file:
            raise ConfigError(
                "tls.require_client_certificate is true, and tls.ca_file is empty; give the "
                "certificate of the authority that signs the clients' certificates."
            )
        if self.poll.enabled and self.keep.rows_days < self.poll.days + 1:
            raise ConfigError(
                f"keep.rows_days is {self.keep.rows_days:g}; it must be poll.days + 1 or more "
                f"({self.poll.days + 1}): a study that is forgotten would be fetched again."
            )

    @property
    def state_path(self) -> Path:
        """Folder of the queue, the images and the results."""
        return Path(self.keep.state_dir)
