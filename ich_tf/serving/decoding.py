"""Uploaded files -> slices on the disk, decoded in processes that may crash, stall or eat memory.

The processes run `upload_reader`, load no TensorFlow and get no token. They answer in JSON and
write Hounsfield units as bare float32: nothing that they send is unpickled or executed.
"""

from __future__ import annotations

import hmac
import json
import math
import queue
import secrets
import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.dicom.crop import Box
from ich_tf.dicom.header import MAX_SIDE, Header
from ich_tf.dicom.reasons import Reason
from ich_tf.runtime.sandbox import Sandbox, SandboxDied
from ich_tf.serving.limits import MIB, Limits

_TARGET = "ich_tf.serving.upload_reader:make_handler"
# A busy machine takes so many times the CPU time that a decoder is given.
_PATIENCE = 8
_SECRET = secrets.token_bytes(32)


@dataclass(frozen=True, eq=False)
class DecodedSlice:
    """A slice whose Hounsfield units are on the disk.

    Attributes:
      header: Geometry, and the ids of the file, which are kept in memory alone; those of patient
        and study are hashes.
      path: File of the Hounsfield units, bare float32 [rows, columns], little endian.
      box: Part of the slice that shows the head, if that was asked for; else empty.
      brain_mm2: Area of brain in the slice, mm2.
      file: Index of its file among those that were sent, from 0.
      entry: Index of its file in the archive, from 0; None for a file that was in none.
    """

    header: Header
    path: Path
    box: Box = ()
    brain_mm2: float = 0.0
    file: int = 0
    entry: int | None = None

    def read_hu(self) -> np.ndarray:
        """Reads the Hounsfield units, float32 [rows, columns]."""
        return read_hu(self.path, self.header.rows, self.header.columns)


@dataclass(frozen=True, eq=False)
class DecodedFile:
    """The slices of a file, or the reason why there are none.

    Attributes:
      place: Index of the file in the list of files.
      slices: One slice, the frames of an enhanced file or the slices of a NIfTI volume; empty if
        the file is rejected.
      reason, message: Code and text of the rejection; of a file with slices, of the frames that
        could not be read; empty if there are none.
    """

    place: int
    slices: tuple[DecodedSlice, ...] = ()
    reason: str = ""
    message: str = ""


def read_hu(path: Path, rows: int, columns: int) -> np.ndarray:
    """Reads Hounsfield units as a decoder wrote them, float32 [rows, columns]."""
    return np.fromfile(path, "<f4", rows * columns).reshape(rows, columns)


class Decoders:
    """A pool of sandboxed processes; a file that ends a process costs that file alone."""

    def __init__(self, limits: Limits) -> None:
        """Starts no process: `start` does, or the first file."""
        self._limits = limits
        self._decoders: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        for _ in range(limits.decoders):
            self._decoders.put(_Decoder(limits))
        self._threads = ThreadPoolExecutor(limits.decoders, "decoding")

    def decode(
        self, files: Sequence[Path], folder: Path, find_head: bool = False
    ) -> Generator[DecodedFile, None, None]:
        """Decodes files, several at a time, and deletes each once it is read.

        Whoever does not take all results closes the iterator, which waits for files that are read.

        Args:
          files: Paths; no client may have chosen any part of them.
          folder: Folder for the Hounsfield units.
          find_head: Whether to look for each slice's head, too.

        Yields:
          A result for each file, in their order.
        """
        limits, end = self._limits, time.monotonic() + self._limits.reading_seconds
        budget = _Budget(limits.decoded_mb * MIB)

        def decode_one(place: int) -> DecodedFile:
            file = files[place]
            decoder = self._decoders.get()
            try:
                if time.monotonic() > end:
                    return DecodedFile(
                        place,
                        reason="TIME",
                        message=f"not read: the files before it took {limits.reading_seconds:g} s.",
                    )
                return decoder.decode(place, file, folder, find_head, budget)
            finally:
                self._decoders.put(decoder)
                file.unlink(missing_ok=True)

        futures = [self._threads.submit(decode_one, place) for place in range(len(files))]
        try:
            for future in futures:
                yield future.result()
        finally:
            # Who stops early may delete the folder: nothing is written to it afterwards.
            wait([future for future in futures if not future.cancel()])

    def start(self) -> None:
        """Starts the processes, so that the first study does not wait for them."""
        decoders = [self._decoders.get() for _ in range(self._limits.decoders)]
        for decoder in decoders:
            decoder.start()
            self._decoders.put(decoder)

    def close(self) -> None:
        """Ends all processes; the files that they were reading are lost."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._limits.decoders):
            self._decoders.get().close()


class _Budget:
    """Bytes that a study may still write; shared by threads."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Takes bytes; False if there were not that many left."""
        with self._lock:
            self._left -= size
            return self._left >= 0


class _Decoder:
    """One process and the protocol with it; used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sandbox = Sandbox(
            _TARGET,
            added_bytes=limits.decoder_mb * MIB,
            cpu_seconds=math.ceil(limits.silent_seconds),
        )

    def start(self) -> None:
        self._sandbox.start()

    def close(self) -> None:
        self._sandbox.close()

    def decode(
        self, place: int, file: Path, folder: Path, find_head: bool, budget: _Budget
    ) -> DecodedFile:
        try:
            return self._file(place, file, folder / f"{place}", find_head, budget)
        except _RejectedFileError as error:
            for path in folder.glob(f"{place}-*"):
                path.unlink()
            return DecodedFile(place, reason=error.reason, message=error.message)

    def _file(
        self, place: int, file: Path, out: Path, find_head: bool, budget: _Budget
    ) -> DecodedFile:
        """The slices of a file, as the process reports them.

        Raises:
          _RejectedFileError: If it reports a reason, dies, exceeds a limit, or cannot be believed.
        """
        question = {"file": str(file), "out": str(out), "find_head": find_head}
        end = time.monotonic() + self._limits.file_seconds
        try:
            self._sandbox.send(json.dumps(question).encode())
            slices: list[DecodedSlice] = []
            while not (answer := self._answer(end)).get("end"):
                slice_ = _checked(answer, out.with_name(f"{out.name}-{len(slices)}"))
                self._charge(slice_, budget)
                slices.append(slice_)
            lost = answer.get("lost", {"reason": "", "message": ""})
            return DecodedFile(place, tuple(slices), str(lost["reason"]), str(lost["message"]))
        except SandboxDied as error:
            raise _died(error.code) from error
        # Whatever a process sends that is no answer.
        except (AttributeError, OSError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise _died(self._sandbox.close()) from error

    def _answer(self, end: float) -> dict[str, Any]:
        """The next answer of the process, until a time."""
        limits = self._limits
        seconds = min(_PATIENCE * limits.silent_seconds, end - time.monotonic())
        message = self._sandbox.receive(seconds, MIB) if seconds > 0 else None
        if message is None:
            self._sandbox.close()
            raise _RejectedFileError(
                Reason.DECODER_TIMEOUT.value,
                f"gave no slice for {_PATIENCE * limits.silent_seconds:g} s, or took more than "
                f"{limits.file_seconds:g} s; its decoder was ended.",
            )
        answer: dict[str, Any] = json.loads(message)
        if "reason" in answer:
            raise _RejectedFileError(str(answer["reason"]), str(answer["message"]))
        return answer

    def _charge(self, slice_: DecodedSlice, budget: _Budget) -> None:
        if not budget.take(4 * slice_.header.rows * slice_.header.columns):
            self._sandbox.close()
            raise _RejectedFileError(
                Reason.TOO_LARGE.value,
                f"the study has more than {self._limits.decoded_mb} MiB of Hounsfield units.",
            )


class _RejectedFileError(Exception):
    """A file that gives no slice, with the code and the text of the reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def _died(code: int | None) -> _RejectedFileError:
    message = f"ended the process that was to read it (code {code})."
    if code == -signal.SIGXCPU:
        message = "took more CPU time than a slice is given; its decoder was ended."
    return _RejectedFileError(Reason.DECODER_DIED.value, message)


def pseudonym(text: str) -> str:
    """Hash of an id under a secret of this process: equal ids are told, and none can be read."""
    return hmac.new(_SECRET, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def _checked(answer: dict[str, Any], path: Path) -> DecodedSlice:
    """A slice as a process describes it; ValueError, KeyError or TypeError if it cannot be."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in answer["header"].items()
    }
    for name in ("patient_id", "study_id"):
        values[name] = pseudonym(values[name])
    header = Header(**values)
    brain_mm2 = float(answer["brain_mm2"])
    numbers = (*header.position_mm, *header.orientation, *header.spacing_mm, brain_mm2)
    sides_fit = 0 < header.rows <= MAX_SIDE and 0 < header.columns <= MAX_SIDE
    if not sides_fit or not all(map(math.isfinite, numbers)) or len(numbers) != 12:
        raise ValueError("not the header of a slice")
    if path.stat().st_size != 4 * header.rows * header.columns:
        raise ValueError("the file's size is not that of its header")
    return DecodedSlice(header, path, tuple(map(int, answer["box"])), brain_mm2)
