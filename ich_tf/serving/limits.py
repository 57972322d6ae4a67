"""Limits of a server: each in one place, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ich_tf.errors import ConfigError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of one server, all above 0.

    Attributes:
      body_mb: Size of an upload as it is sent, MiB.
      unpacked_mb: Size of an upload's files once archives are unpacked, MiB.
      files: Number of an upload's files once archives are unpacked.
      decoded_mb: Size of a study's Hounsfield units on the disk, float32, MiB.
      studies: Number of studies that the files of an upload are of.
      min_free_mb: Free space of the disk below which the oldest finished studies are deleted for a
        new upload, MiB; if that is not enough, uploads are answered by 507.
      uploads: Number of uploads that are received at the same time; further ones are answered by
        503. Also the number of those that wait for their next part; of more, the one that waits
        the longest is dropped.
      upload_seconds: Time from the start of an upload to its end.
      idle_seconds: Time between two pieces of an upload.
      rate_kb: Least rate of an upload, KiB/s.
      rate_seconds: Time over which the rate is measured.
      part_seconds: Time between two parts of an upload.
      decoders: Number of processes that decode.
      decoder_mb: Memory of such a process beyond that of Python and its libraries, MiB.
      silent_seconds: CPU time that a decoder may work on a file until it gives a slice; on the
        clock, eight times as much.
      file_seconds: Time that a decoder may work on a file in all.
      reading_seconds: Time for all files of a study; files after it are rejected.
      queue: Number of studies that wait or are worked on; further uploads are answered by 503.
      kept_studies: Number of finished studies; the oldest are deleted first.
      kept_mb: Size of all finished studies on the disk, MiB; the oldest are deleted first.
      kept_seconds: Age at which a finished study is deleted.
      heat_maps: Number of heat maps that wait for the model; further requests are answered by 503.
      cache_mb: Size of the compressed heat maps in memory, MiB.
      large_answers: Number of slices, heat maps and reports that are made at the same time.

    Raises:
      ConfigError: If a limit is not above 0.
    """

    body_mb: int = 200
    unpacked_mb: int = 1024
    files: int = 2000
    decoded_mb: int = 4096
    studies: int = 16
    min_free_mb: int = 1024
    uploads: int = 16
    upload_seconds: float = 300.0
    idle_seconds: float = 20.0
    rate_kb: float = 16.0
    rate_seconds: float = 10.0
    part_seconds: float = 60.0
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
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ConfigError(f"{limit.name} is {value!r}; it must be above 0.")
