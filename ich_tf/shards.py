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
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import google_crc32c
import numpy as np

from ich_tf import tfrecord
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.records import SCHEMA_VERSION
from ich_tf.splits import fold_name
from ich_tf.windows import stored_to_hu

PLAN = "plan.json"
MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
QUARANTINE = "quarantine.jsonl"
REPORT = "report.html"
# Histograms of Hounsfield units: counts of 32 HU from -1024 on, as the high bits of stored values.
HISTOGRAM_BINS, _HISTOGRAM_SHIFT = 128, 9
_TEMPORARY = ".tmp"
_BLOCK = 1 << 20
_SEND_BYTES = 8 << 20
_CONVERT = "Run python -m ich_tf.make_tfrecords to write it; what is done already is kept."


class DataError(InputError):
    """A folder of shards that is missing, unfinished, damaged or of another schema."""


@dataclass(frozen=True)
class Shard:
    """One committed shard.

    Attributes:
      path: The TFRecord file.
      split: `test`, `fold-0` ..., or `unlabelled`.
      num_records, num_bytes: Of the file.
      sha256: Of the file.
      label_counts: Positive records a class, in the order of `CLASSES`.
    """

    path: Path
    split: str
    num_records: int
    num_bytes: int
    sha256: str
    label_counts: tuple[int, ...]


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


@dataclass(frozen=True)
class Manifest:
    """A finished conversion.

    Attributes:
      data_dir: The folder.
      image_size: Rows and columns of every stored image.
      windows: The presets' names, one a channel.
      crop: What was cut out before resizing, one of `records.CROPS`.
      encoding: The records' image format.
      num_folds: Folds, 0 for unlabelled data.
      shards: All of them, by name.
      patients: Split -> its patients' keys.
    """

    data_dir: Path
    image_size: int
    windows: tuple[str, ...]
    crop: str
    encoding: str
    num_folds: int
    shards: tuple[Shard, ...]
    patients: dict[str, list[str]]

    @classmethod
    def load(cls, data_dir: str | Path, *, check_files: bool = True) -> Manifest:
        """Reads `data_dir/manifest.json` and checks that its shards are there, by size.

        Args:
          data_dir: The folder.
          check_files: False only reads.

        Raises:
          DataError: If the folder is no finished conversion of this schema version.
        """
        data_dir = Path(data_dir)
        if not data_dir.is_dir():
            raise DataError(f"{data_dir}: no such folder of TFRecords. {_CONVERT}")
        if not (data_dir / SUCCESS).is_file():
            state = "is unfinished" if (data_dir / PLAN).is_file() else "holds no TFRecords"
            raise DataError(
                f"{data_dir}: {state} (no {SUCCESS}). Run python -m ich_tf.make_tfrecords "
                f"--out_dir={data_dir} to finish or write it."
            )
        content = read_json(data_dir / MANIFEST)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{data_dir}: schema version {version}; this version of ich_tf reads "
                f"{SCHEMA_VERSION}. Convert the data again into another folder."
            )
        try:
            manifest = cls(
                data_dir=data_dir,
                image_size=content["config"]["image_size"],
                windows=tuple(content["config"]["windows"]),
                crop=content["config"]["crop"],
                encoding=content["config"]["encoding"],
                num_folds=content["num_folds"],
                shards=tuple(
                    Shard(
                        path=data_dir / shard["name"],
                        split=shard["split"],
                        num_records=shard["num_records"],
                        num_bytes=shard["num_bytes"],
                        sha256=shard["sha256"],
                        label_counts=tuple(shard["label_counts"]),
                    )
                    for shard in content["shards"]
                ),
                patients=content["patients"],
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{data_dir / MANIFEST}: not a manifest of schema {SCHEMA_VERSION} ({error!r}). "
                "Convert the data again."
            ) from error
        for shard in manifest.shards if check_files else ():
            size = shard.path.stat().st_size if shard.path.is_file() else None
            if size != shard.num_bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DataError(
                    f"{shard.path} {found}; the manifest says {shard.num_bytes} bytes. "
                    f"{repair_advice(data_dir)}"
                )
        return manifest

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of every stored image: rows, columns, channels."""
        return image_shape(self.image_size, self.windows, self.encoding)

    def split_shards(self, split: str) -> list[Shard]:
        """The shards of one split.

        Raises:
          DataError: If the split holds no record.
        """
        found = [shard for shard in self.shards if shard.split == split]
        if not num_records(found):
            splits = sorted({shard.split for shard in self.shards if shard.num_records})
            raise DataError(
                f"{self.data_dir}: split {split!r} holds no record; there are "
                f"{', '.join(splits) or 'none'}."
            )
        return found

    def fold_shards(self, *folds: int) -> list[Shard]:
        """The shards of the folds with these numbers."""
        return [shard for fold in folds for shard in self.split_shards(fold_name(fold))]

    def train_shards(self, validation_fold: int) -> list[Shard]:
        """The shards of all folds but one.

        Raises:
          DataError: If there is no such fold, or no other, or no labels.
        """
        if not self.num_folds:
            raise DataError(
                f"{self.data_dir}: was converted without labels; training and scores need them. "
                "Convert with --labels_csv."
            )
        if not 0 <= validation_fold < self.num_folds or self.num_folds < 2:
            raise DataError(
                f"{self.data_dir}: has {self.num_folds} folds; validation_fold is "
                f"{validation_fold}. Expected 0 to {self.num_folds - 1}, and two folds or more."
            )
        return self.fold_shards(*(i for i in range(self.num_folds) if i != validation_fold))


def image_shape(size: int, windows: Sequence[str], encoding: str) -> tuple[int, int, int]:
    """Rows, columns and channels of a stored image: a channel a window; of hu16 one."""
    return size, size, 1 if encoding == "hu16" else len(windows)


def num_records(shards: Iterable[Shard]) -> int:
    """Records in all."""
    return sum(shard.num_records for shard in shards)


@contextmanager
def damage_named(shards: Sequence[Shard]) -> Iterator[None]:
    """Within it, an error of reading shards names the one that is damaged.

    tf.data does not say which file it read, so each is compared with its hash: only then, since it
    takes as long as reading them all.

    Raises:
      DataError: As within, with the shard's path.
    """
    try:
        yield
    except DataError as error:
        for shard in shards:
            try:
                damaged = file_sha256(shard.path) != shard.sha256
            except OSError:
                damaged = True
            if damaged:
                raise DataError(f"{shard.path}: missing or damaged; {error}") from error
        raise


def label_counts(shards: Sequence[Shard]) -> np.ndarray:
    """Positive records a class, int64 [6]."""
    counts = np.zeros(len(CLASSES), np.int64)
    for shard in shards:
        counts += np.asarray(shard.label_counts, np.int64)
    return counts


def shard_name(split: str, index: int, count: int) -> str:
    """`fold-0-00000-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def sidecar_path(shard: Path) -> Path:
    """Where a shard's sidecar lies."""
    return shard.with_name(shard.name + ".json")


def index_path(shard: Path) -> Path:
    """Where a shard's index lies: a line `offset size` a record, as DALI reads it."""
    return shard.with_name(shard.name + ".idx")


def shard_of(file: str) -> str:
    """The shard's name that a file beside it, or the shard itself, belongs to; empty if none."""
    return f"{file.split('.tfrecord')[0]}.tfrecord" if ".tfrecord" in file else ""


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
    with _atomic_file(path) as file, _write_behind(file) as wrote:
        for payload in payloads:
            record = tfrecord.frame(payload)
            file.write(record)
            wrote(len(record))
            digest.update(record)
            crc = google_crc32c.extend(crc, record)
            sizes.append(len(record))
        file.flush()
        os.fsync(file.fileno())
        if _file_crc32c(Path(file.name)) != crc:
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


def repair_advice(data_dir: Path) -> str:
    """What to do about a damaged file of a finished conversion."""
    return f"Run python -m ich_tf.verify_tfrecords --data_dir={data_dir} --full --repair."


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
        return Sidecar(**read_json(path))
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


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _file_crc32c(path: Path) -> int:
    # Ten times as fast as SHA-256, and enough for what a disk does.
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            crc = google_crc32c.extend(crc, block)
    return crc


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
      DataError: If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {_CONVERT}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). {_CONVERT}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, with sorted keys."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """JSON with sorted keys, for files that people read."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    write_parts(path, (text,))


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Writes a text file atomically, part by part."""
    write_bytes(path, (part.encode("utf-8") for part in parts))


def write_bytes(path: Path, parts: Iterable[bytes]) -> None:
    """Writes a file atomically, part by part."""
    with _atomic_file(path) as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def remove_temporaries(folder: Path) -> None:
    """Removes what writers that were killed left behind."""
    for path in filter(is_temporary, folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a name is one of `temporary_path`."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def temporary_path(path: Path) -> Path:
    """A name beside `path` for what is not finished yet, unlike that of any other writer."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")


@contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only once the block ended well."""
    temporary = temporary_path(path)
    try:
        with open(temporary, "wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself is durable only once the folder is on disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
