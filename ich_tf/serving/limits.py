"""What the server takes, and keeps: each bound in one place, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ich_tf.errors import ConfigError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
      body_mb: Bytes of an upload as it is sent, MiB.
      unpacked_mb: Bytes of its files once archives are unpacked, MiB.
      files: Of an upload, once archives are unpacked.
      decoded_mb: Hounsfield units of a study on the disk, float32, MiB.
      upload_seconds: That an upload may take in all.
      idle_seconds: That a client may send nothing in the middle of an upload.
      decoders: Processes that decode.
      decoder_mb: Memory of each beyond what Python and its libraries take, MiB.
      silent_seconds: That a file may keep its decoder without giving a slice.
      file_seconds: That a file may keep its decoder in all.
      reading_seconds: That the files of a study may take in all; the rest is rejected then.
      queue: Studies that are being uploaded, wait or are worked on; more are told 503.
      kept_studies: Finished studies; the oldest go first.
      kept_mb: Of all finished studies on the disk, MiB; likewise.
      kept_seconds: After which a finished study goes.
      heat_maps: That wait for the model; more are told 503.
      cache_mb: Of heat maps in memory, compressed, MiB.
      large_answers: Slices, heat maps and reports that are made at the same time.
    """

    body_mb: int = 200
    unpacked_mb: int = 1024
    files: int = 2000
    decoded_mb: int = 4096
    upload_seconds: float = 300.0
    idle_seconds: float = 20.0
    decoders: int = 2
    decoder_mb: int = 512
    silent_seconds: float = 7.0
    file_seconds: float = 60.0
    reading_seconds: float = 300.0
    queue: int = 8
    kept_studies: int = 32
    kept_mb: int = 16384
    kept_seconds: float = 3600.0
    heat_maps: int = 32
    cache_mb: int = 64
    large_answers: int = 2

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise ConfigError(f"{one.name} is {getattr(self, one.name)!r}; expected above 0.")
