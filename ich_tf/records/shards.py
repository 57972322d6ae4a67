"""Shards on disk: atomic writing, sidecars, and the manifest that readers start from.

`fold-0-00000-of-00008.tfrecord` holds records; `....tfrecord.idx` their offsets and sizes;
`....tfrecord.json`, the sidecar, is written last and is the shard's commit mark.
`manifest.json` sums the sidecars up, and `_SUCCESS` comes last of all: a line `sha256  name` of
every other file, as `sha256sum -c _SUCCESS` checks them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import google_crc32c
import numpy as np

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records import tfrecord
from ich_tf.records.data_files import index_path, sidecar_path
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.runtime.files import atomic_file, file_crc32c, file_sha256, read_json, write_text
from ich_tf.windows import stored_to_hu

# Histograms of Hounsfield units: counts of 32 HU from -1024 on, as the high bits of stored values.
HISTOGRAM_BINS, _HISTOGRAM_SHIFT = 128, 9
_SEND_BYTES = 8 << 20


@dataclass
class Sidecar:
    """What is known of a shard once it is written; the JSON file beside it.

    Attributes:
      name: The TFRecord file's name.
      split, num_records, num_bytes, sha256, label_counts: As in `Shard`.
      plan_sha256: Of what the plan says of this shard.
      sources_sha256: Of the stamps of the DICOM files it was made of (`sources.stamps_sha256`).
      versions: Of the libraries that wrote it.
      repairs: Named repair -> slices it was applied to.
      decoders: Decoder of compressed pixels, with its version -> slices it decoded.
      transfer_syntaxes: UID -> slices.
      scanners: Maker -> slices.
      spacings: Distance between rows, mm, three decimals -> slices.
      stored_sum, num_pixels: Of the slices as stored (`windows.store_hu`).
      hu_min, hu_max: Of these, in Hounsfield units.
      hu_histogram: Of every fourth row and column of these, `HISTOGRAM_BINS` counts.
      num_tilted: Slices whose gantry was tilted by more than half a degree.
      quarantine: The inputs that were left out, as lines of quarantine.jsonl.
    """

    name: str
    split: str
    plan_sha256: str
    sources_sha256: str = ""
    num_records: int = 0
    num_bytes: int = 0
    sha256: str = ""
    label_counts: list[int] = field(default_factory=lambda: [0] * len(CLASSES))
    versions: dict[str, str] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=dict)
    decoders: dict[str, int] = field(default_factory=dict)
    transfer_syntaxes: dict[str, int] = field(default_factory=dict)
    scanners: dict[str, int] = field(default_factory=dict)
    spacings: dict[str, int] = field(default_factory=dict)
    stored_sum: int = 0
    num_pixels: int = 0
    hu_min: float | None = None
    hu_max: float | None = None
    hu_histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)
    num_tilted: int = 0
    quarantine: list[dict[str, str]] = field(default_factory=list)

    def add_statistics(self, stored: np.ndarray) -> None:
        """Counts a slice in, in whole numbers, so that no order of additions shows.

        Args:
          stored: uint16 [h, w].
        """
        low, high = (stored_to_hu(int(value)) for value in (stored.min(), stored.max()))
        # Exact below 2**53, and in a tenth of NumPy's time.
        self.stored_sum += int(cv2.sumElems(stored)[0])
        self.num_pixels += stored.size
        self.hu_min = low if self.hu_min is None else min(low, self.hu_min)
        self.hu_max = high if self.hu_max is None else max(high, self.hu_max)
        bins = (stored[::4, ::4] >> _HISTOGRAM_SHIFT).reshape(-1)
        counts = np.bincount(bins, minlength=HISTOGRAM_BINS).tolist()
        self.hu_histogram = [a + b for a, b in zip(self.hu_histogram, counts, strict=True)]

    def shard(self, folder: Path) -> Shard:
        """The shard this sidecar describes."""
        return Shard(
            path=folder / self.name,
            split=self.split,
            num_records=self.num_records,
            num_bytes=self.num_bytes,
            sha256=self.sha256,
            label_counts=tuple(self.label_counts),
        )


def commit_shard(folder: Path, sidecar: Sidecar, payloads: Iterable[bytes]) -> Sidecar:
    """Writes a shard, its index and, last, its sidecar; each appears whole or not at all.

    Args:
      folder: Where to.
      sidecar: Names the shard. `payloads` may fill its other fields while it is consumed.
      payloads: Serialized records.

    Returns:
      The sidecar, with the file's count, size and hash.

    Raises:
      DataError: If the disk gives back other bytes than were written.
    """
    path = folder / sidecar.name
    digest, crc = hashlib.sha256(), 0
    sizes: list[int] = []
    with atomic_file(path) as file, _write_behind(file) as wrote:
        for payload in payloads:
            record = tfrecord.frame(payload)
            file.write(record)
            wrote(len(record))
            digest.update(record)
            crc = google_crc32c.extend(crc, record)
            sizes.append(len(record))
        file.flush()
        os.fsync(file.fileno())
        if file_crc32c(Path(file.name)) != crc:
            raise DataError(
                f"{path}: read back other bytes than were written. Check the disk, then run the "
                "same command again."
            )
    sidecar.num_records, sidecar.num_bytes = len(sizes), sum(sizes)
    sidecar.sha256 = digest.hexdigest()
    write_text(index_path(path), index_lines(sizes))
    write_text(sidecar_path(path), sidecar_text(sidecar))
    return sidecar


@contextmanager
def _write_behind(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Sends a file to the disk while it grows, so that its final fsync finds little to do.

    Yields:
      A function to tell the number of bytes that were written to the file. It raises OSError
      where an earlier part could not be sent.
    """
    waiting = 0
    sent: Future[None] | None = None
    with ThreadPoolExecutor(1, "write-behind") as pool:

        def wrote(count: int) -> None:
            nonlocal waiting, sent
            waiting += count
            if waiting >= _SEND_BYTES and (sent is None or sent.done()):
                if sent is not None:
                    sent.result()
                waiting = 0
                file.flush()
                # A disk waits longer than it works: the worker's core is free meanwhile.
                sent = pool.submit(os.fsync, file.fileno())

        yield wrote
    if sent is not None:
        sent.result()


def index_lines(sizes: Iterable[int]) -> str:
    """The text of an index, from the sizes of a shard's records, framing included."""
    lines, offset = [], 0
    for size in sizes:
        lines.append(f"{offset} {size}\n")
        offset += size
    return "".join(lines)


def read_index(shard: Path) -> list[tuple[int, int]]:
    """The offset and the size, framing included, of each record of a shard.

    Raises:
      DataError: If the index is missing or damaged.
    """
    path = index_path(shard)
    try:
        lines = path.read_text("ascii").splitlines()
        return [(int(offset), int(size)) for offset, size in map(str.split, lines)]
    except (FileNotFoundError, ValueError) as error:
        raise DataError(
            f"{path}: no index of a shard ({type(error).__name__}). {repair_advice(shard.parent)}"
        ) from error


def sidecar_text(sidecar: Sidecar) -> str:
    """The text of a sidecar: JSON, a field a line."""
    content = asdict(sidecar)
    fields = (f"{json.dumps(name)}: {json.dumps(content[name])}" for name in sorted(content))
    return "{\n" + ",\n".join(fields) + "\n}\n"


def read_sidecar(shard: Path) -> Sidecar:
    """The sidecar of a shard.

    Raises:
      DataError: If there is none, or it is none of this version.
    """
    path = sidecar_path(shard)
    try:
        return Sidecar(**read_json(path, repair_advice(shard.parent)))
    except TypeError as error:
        raise DataError(f"{path}: not a sidecar of this version ({error}).") from error


def is_committed(
    shard: Path, plan_sha256: str, sources_sha256: str, *, rehash: bool = False
) -> bool:
    """Whether a shard stands as a plan's run left it.

    Args:
      shard: The TFRecord file.
      plan_sha256: Of what the plan says of it.
      sources_sha256: Of its DICOM files' stamps.
      rehash: Compare the file's hash too, not just its size.
    """
    try:
        sidecar = read_sidecar(shard)
    except DataError:
        return False
    return (
        sidecar.plan_sha256 == plan_sha256
        and sidecar.sources_sha256 == sources_sha256
        and shard.is_file()
        and shard.stat().st_size == sidecar.num_bytes
        and index_path(shard).is_file()
        and (not rehash or file_sha256(shard) == sidecar.sha256)
    )


def remove_shard(shard: Path) -> None:
    """Removes a shard, its commit mark first."""
    for path in (sidecar_path(shard), index_path(shard), shard):
        path.unlink(missing_ok=True)
