"""Uploaded files -> slices on the disk, read by processes that may crash, stall or eat memory.

Workers load no TensorFlow, know no token, and live in a session of their own, so that whatever
they started dies with them. They answer in JSON and leave Hounsfield units as bare float32: nothing
that they say is unpickled or executed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.dicom.crop import Box, head_box
from ich_tf.dicom.reader import MAX_SIDE, Header, read_slices
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.serving.limits import MIB, Limits

# Python and its libraries start within a second; on a busy machine within this.
_START_SECONDS = 60.0
_CODE = "import sys; from ich_tf.serving.decoding import work; work(*map(int, sys.argv[1:]))"
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, eq=False)
class DecodedSlice:
    """A slice on the disk.

    Attributes:
      header: Where it is, with the ids of the file: in memory alone.
      path: Hounsfield units, bare float32 [rows, columns], little endian.
      box: Of its head, if that was asked for.
    """

    header: Header
    path: Path
    box: Box = ()

    def read_hu(self) -> np.ndarray:
        """Hounsfield units, float32 [rows, columns]."""
        return read_hu(self.path, self.header.rows, self.header.columns)


@dataclass(frozen=True, eq=False)
class DecodedFile:
    """What a file gave: slices, or a reason why not.

    Attributes:
      place: Of the file in the list of files.
      slices: One; of an enhanced file its frames.
      reason, message: Why there are none, or no more.
    """

    place: int
    slices: tuple[DecodedSlice, ...] = ()
    reason: str = ""
    message: str = ""


def read_hu(path: Path, rows: int, columns: int) -> np.ndarray:
    """Hounsfield units as a worker left them, float32 [rows, columns]."""
    return np.fromfile(path, "<f4", rows * columns).reshape(rows, columns)


class Decoders:
    """A pool of sandboxed processes; a file that ends one costs that file alone."""

    def __init__(self, limits: Limits) -> None:
        """Starts no process before there is a file."""
        self._limits = limits
        self._workers: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(limits.decoders):
            self._workers.put(_Worker(limits))
        self._threads = ThreadPoolExecutor(limits.decoders, "decoding")

    def decode(
        self, files: Sequence[Path], folder: Path, find_head: bool = False
    ) -> Iterator[DecodedFile]:
        """Decodes files, several at a time, in their order; each is deleted once it is read.

        Args:
          files: Named by nothing that a client chose.
          folder: For the Hounsfield units.
          find_head: Look for each slice's head, too.
        """
        limits, end = self._limits, time.monotonic() + self._limits.reading_seconds
        budget = _Budget(limits.decoded_mb * MIB)

        def one(place: int) -> DecodedFile:
            file = files[place]
            worker = self._workers.get()
            try:
                if time.monotonic() > end:
                    return DecodedFile(
                        place,
                        reason="TIME",
                        message=f"not read: the files before it took {limits.reading_seconds:g} s.",
                    )
                return worker.decode(place, file, folder, find_head, budget)
            finally:
                self._workers.put(worker)
                file.unlink(missing_ok=True)

        yield from self._threads.map(one, range(len(files)))

    def start(self) -> None:
        """Starts the processes, so that the first study does not wait for them."""
        workers = [self._workers.get() for _ in range(self._limits.decoders)]
        for worker in workers:
            worker.start()
            self._workers.put(worker)

    def close(self) -> None:
        """Ends all processes; what they were reading is lost."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._limits.decoders):
            self._workers.get().kill()


class _Budget:
    """Bytes that a study may still write."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            self._left -= size
            return self._left >= 0


class _Worker:
    """One process and the line to it; used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        arguments = [str(theirs.fileno()), str(self._limits.decoder_mb)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        self._line = Connection(ours.detach())
        if not self._line.poll(_START_SECONDS):
            self.kill()
            raise OSError(f"a decoder did not start within {_START_SECONDS:g} s")
        self._line.recv_bytes()

    def decode(
        self, place: int, file: Path, folder: Path, find_head: bool, budget: _Budget
    ) -> DecodedFile:
        limits = self._limits
        slices: list[DecodedSlice] = []
        end = time.monotonic() + limits.file_seconds

        def failed(reason: str, message: str) -> DecodedFile:
            for left in folder.glob(f"{place}-*"):
                left.unlink()
            return DecodedFile(place, reason=reason, message=message)

        try:
            self.start()
            assert self._line is not None
            question = {"file": str(file), "out": str(folder / f"{place}"), "find_head": find_head}
            self._line.send_bytes(json.dumps(question).encode())
            while True:
                silent = min(limits.silent_seconds, end - time.monotonic())
                if silent <= 0 or not self._line.poll(silent):
                    self.kill()
                    return failed(
                        Reason.DECODER_DIED.value,
                        f"gave no slice for {limits.silent_seconds:g} s, or took more than "
                        f"{limits.file_seconds:g} s; its decoder was ended.",
                    )
                answer = json.loads(self._line.recv_bytes(MIB))
                if "reason" in answer:
                    return failed(str(answer["reason"]), str(answer["message"]))
                if answer.get("end"):
                    return DecodedFile(place, tuple(slices))
                slices.append(_checked(answer, folder / f"{place}-{len(slices)}"))
                if not budget.take(4 * slices[-1].header.rows * slices[-1].header.columns):
                    self.kill()
                    return failed(
                        Reason.TOO_LARGE.value,
                        f"the study has more than {limits.decoded_mb} MiB of Hounsfield units.",
                    )
        except (EOFError, OSError, KeyError, TypeError, ValueError):
            code = self.kill()
            return failed(
                Reason.DECODER_DIED.value, f"ended the process that was to read it (code {code})."
            )

    def kill(self) -> int | None:
        """Ends the process and what it started; returns its exit code."""
        process, self._process = self._process, None
        if self._line is not None:
            self._line.close()
            self._line = None
        if process is None:
            return None
        # One that died says why in its code, if it is given the time.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _checked(answer: dict[str, Any], path: Path) -> DecodedSlice:
    """A slice as a worker describes it; ValueError, KeyError or TypeError if it cannot be."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in answer["header"].items()
    }
    header = Header(**values)
    numbers = (*header.position_mm, *header.orientation, *header.spacing_mm)
    sides_fit = 0 < header.rows <= MAX_SIDE and 0 < header.columns <= MAX_SIDE
    if not sides_fit or not all(map(math.isfinite, numbers)) or len(numbers) != 11:
        raise ValueError("no header of a slice")
    if path.stat().st_size != 4 * header.rows * header.columns:
        raise ValueError("a file of another size than its header says")
    box = tuple(int(one) for one in answer["box"])
    return DecodedSlice(header, path, box)


def work(descriptor: int, memory_mb: int) -> None:
    """Answers a `_Worker` until it hangs up. Runs in the process that it starts."""
    import resource

    import cv2

    cv2.setNumThreads(1)
    # Numbers of the kernel: libraries map far more than they use, so the bound begins above them.
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_mb * MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    line = Connection(descriptor)
    line.send_bytes(b"ready")
    while True:
        try:
            question = json.loads(line.recv_bytes())
        except EOFError:
            return
        for answer in _answers(**question):
            line.send_bytes(json.dumps(answer).encode())


def _answers(file: str, out: str, find_head: bool) -> Iterator[dict[str, Any]]:
    """One a slice, then the end or a reason."""
    try:
        data = Path(file).read_bytes()
        for number, one in enumerate(read_slices(data)):
            one.hu.astype("<f4", copy=False).tofile(f"{out}-{number}")
            header = {name: getattr(one.header, name) for name in Header.__dataclass_fields__}
            box = head_box(one.hu, one.header.spacing_mm) if find_head else ()
            yield {"header": header, "box": box}
        yield {"end": True}
    except DicomError as error:
        yield {"reason": error.reason.value, "message": str(error)}
    except (MemoryError, RecursionError) as error:
        yield {
            "reason": Reason.TOO_LARGE.value,
            "message": f"takes more memory than a file is given ({type(error).__name__}).",
        }
    except OSError as error:
        yield {
            "reason": Reason.UNREADABLE.value,
            "message": f"cannot be read or kept ({error.strerror or type(error).__name__}).",
        }
