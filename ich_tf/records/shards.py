"""Shards on disk: atomic writing, index and commit mark.

fold-0-00000-of-00008.tfrecord        records
fold-0-00000-of-00008.tfrecord.idx    offset and size of each record
fold-0-00000-of-00008.tfrecord.json   sidecar, written last: the shard's commit mark
manifest.json                         sums of all sidecars
_SUCCESS                              SHA-256 and name of every file, written last of all:
`sha256sum -c _SUCCESS` checks the folder
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c

from ich_tf.dicom.pixel_hash import hashes_text
from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError
from ich_tf.records import tfrecord
from ich_tf.records.data_files import index_path, sidecar_path
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.mask_statistics import MaskStatistics
from ich_tf.records.shard_index import index_lines
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.records.statistics import SliceStatistics
from ich_tf.runtime.files import atomic_file, file_crc32c, write_text

# Bytes after which the next part of a file is written and sent to the disk.
_PART_BYTES = 8 << 20


class EncodedSlice(NamedTuple):
    """A slice as a shard takes it.

    Attributes:
      payload: Serialized record.
      statistics: Statistics of the slice.
      pixel_hash: Hash of the stored pixels (`pixel_hash.pixel_hash`).
      masks: Statistics of the slice's mask; None in a conversion without masks.
      exams: Statistics of its labels and, for the first slice of an exam, of the exam's; None in a
        conversion whose labels are all of slices and known.
    """

    payload: bytes
    statistics: SliceStatistics
    pixel_hash: int = 0
    masks: MaskStatistics | None = None
    exams: ExamStatistics | None = None


def commit_shard(
    path: Path,
    slices: Iterable[EncodedSlice | Rejection],
    *,
    split: str,
    plan_sha256: str,
    sources_sha256: str,
    versions: Mapping[str, str],
    check_run: Callable[[], None] = lambda: None,
) -> Sidecar:
    """Writes a shard, its index and last its sidecar; each file appears whole or not at all.

    Args:
      path: Path of the TFRecord file.
      slices: The slices, or the reasons why they, or their masks, are left out.
      split: Split of the shard's patients, for the sidecar.
      plan_sha256: SHA-256 of the shard's part of the plan, for the sidecar.
      sources_sha256: SHA-256 of the stamps of the DICOM files, for the sidecar.
      versions: Version of each library that the bytes depend on, for the sidecar.
      check_run: Function that is called before each file appears, and raises an error if the run
        that writes the shard has ended or lost the folder.

    Returns:
      The sidecar that was written.

    Raises:
      DataError: If the disk returns other bytes than were written.
    """
    sizes: list[int] = []
    hashes: list[int] = []
    quarantine: list[Rejection] = []
    mask_quarantine: list[Rejection] = []
    masks: list[MaskStatistics] = []
    exams: list[ExamStatistics] = []
    # The folder is synchronized once, with the sidecar: without the other two it is no mark.
    with atomic_file(path, sync_folder=False) as file, _WriteBehind(file) as written:

        def write_records() -> Iterator[SliceStatistics]:
            for slice_ in slices:
                if isinstance(slice_, Rejection):
                    (mask_quarantine if slice_.is_of_mask else quarantine).append(slice_)
                    continue
                record = tfrecord.frame(slice_.payload)
                written.write(record)
                sizes.append(len(record))
                hashes.append(slice_.pixel_hash)
                if slice_.masks is not None:
                    masks.append(slice_.masks)
                if slice_.exams is not None:
                    exams.append(slice_.exams)
                yield slice_.statistics

        statistics = SliceStatistics.total(write_records())
        written.finish()
        if file_crc32c(Path(file.name)) != written.crc:
            raise DataError(
                f"{path}: read back other bytes than were written. Check the disk, then run the "
                "same command again."
            )
        check_run()
    sidecar = Sidecar(
        name=path.name,
        split=split,
        plan_sha256=plan_sha256,
        sources_sha256=sources_sha256,
        versions=versions,
        num_records=len(sizes),
        num_bytes=sum(sizes),
        sha256=written.digest.hexdigest(),
        statistics=statistics,
        quarantine=tuple(quarantine),
        pixel_hashes=hashes_text(hashes),
        masks=MaskStatistics.total(masks) if masks else None,
        mask_quarantine=tuple(mask_quarantine),
        exams=ExamStatistics.total(exams) if exams else None,
    )
    check_run()
    write_text(index_path(path), index_lines(sizes), sync_folder=False)
    check_run()
    write_text(sidecar_path(path), sidecar.text())
    return sidecar


class _WriteBehind:
    """Hashes, writes and sends a file to the disk in a thread, in parts, while it grows.

    A disk waits longer than it works, and hashing holds no lock: the slices that follow are read
    meanwhile.

    Attributes:
      digest: SHA-256 of what was written.
      crc: CRC-32C of what was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Writes nothing yet.

        Args:
          file: File, which nobody else writes to.
        """
        self.digest = hashlib.sha256()
        self.crc = 0
        self._file = file
        self._part: list[bytes] = []
        self._num_bytes = 0
        self._sent: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, "write-behind")

    def __enter__(self) -> _WriteBehind:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def write(self, data: bytes) -> None:
        """Adds bytes to the file.

        Raises:
          OSError: If an earlier part could not be written.
        """
        self._part.append(data)
        self._num_bytes += len(data)
        if self._num_bytes >= _PART_BYTES:
            self._send()

    def finish(self) -> None:
        """Waits until all bytes are on the disk.

        Raises:
          OSError: If they could not be written.
        """
        self._send()
        self._wait()

    def _send(self) -> None:
        # No more than two parts are in memory: a slow disk slows its writer.
        self._wait()
        part, self._part, self._num_bytes = self._part, [], 0
        self._sent = self._pool.submit(self._write, part)

    def _wait(self) -> None:
        if self._sent is not None:
            self._sent.result()

    def _write(self, part: list[bytes]) -> None:
        # At once: every call would take the interpreter's lock from the slices that follow.
        data = b"".join(part)
        self._file.write(data)
        self.digest.update(data)
        self.crc = google_crc32c.extend(self.crc, data)
        self._file.flush()
        os.fsync(self._file.fileno())


def committed(shard: Path, plan_sha256: str) -> Sidecar | None:
    """Sidecar of a shard that is committed, whole by its size, and of the current plan.

    Args:
      shard: Path of the TFRecord file.
      plan_sha256: SHA-256 of the shard's part of the plan.

    Returns:
      None if it is not.
    """
    try:
        sidecar = read_sidecar(shard)
    except DataError:
        return None
    is_whole = (
        sidecar.plan_sha256 == plan_sha256
        and shard.is_file()
        and shard.stat().st_size == sidecar.num_bytes
        and index_path(shard).is_file()
    )
    return sidecar if is_whole else None


def remove_shard(shard: Path) -> None:
    """Removes a shard, its commit mark first."""
    for path in (sidecar_path(shard), index_path(shard), shard):
        path.unlink(missing_ok=True)
