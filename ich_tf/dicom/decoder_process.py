"""Decoding in a process of its own: a codestream that kills its decoder costs one file.

Decoders are C code that reads bytes from strangers. A crash, an endless loop or an allocation
without bounds ends this process alone, which is then started anew. One codestream goes over,
one image comes back: half a millisecond beside the two to twenty of decoding.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ich_tf.dicom.reasons import DicomError, Reason

TIMEOUT_SECONDS = 8.0
# Private memory of the process, libraries included; a slice of 4096 x 4096 pixels takes 64 MiB.
MEMORY_BYTES = 768 * 2**20


class DecoderProcess:
    """Runs imagecodecs' decoders for one process; started on first use, shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._owner = 0

    def decode(self, codec: str, stream: bytes) -> np.ndarray:
        """Decodes one codestream.

        Args:
          codec: `jpeg8`, `jpegls`, `jpeg2k`: a decoder of imagecodecs.
          stream: The codestream.

        Raises:
          DicomError: DECODE_FAILED, or DECODER_DIED.
        """
        with self._lock:
            # A forked copy must not talk on its parent's line.
            if self._process is None or self._owner != os.getpid():
                self._start()
            try:
                answer = self._ask(codec.encode() + b"\0" + stream)
            except (EOFError, OSError) as error:
                code = self.close()
                raise DicomError(
                    Reason.DECODER_DIED, f"its codestream ended the {codec} decoder (code {code})."
                ) from error
        if answer is None:
            raise DicomError(
                Reason.DECODER_DIED,
                f"the {codec} decoder took longer than {TIMEOUT_SECONDS:g} s.",
            )
        head, _, body = answer.partition(b"\n")
        about = json.loads(head)
        if "error" in about:
            raise DicomError(Reason.DECODE_FAILED, f"{codec}: {about['error']}.")
        return np.frombuffer(body, about["dtype"]).reshape(about["shape"])

    def close(self) -> int | None:
        """Ends the process, if there is one; returns its exit code."""
        if self._process is None:
            return None
        if self._connection is not None:
            self._connection.close()
        process, self._process, self._connection = self._process, None, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        return process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        code = "import sys; from ich_tf.dicom.decoder_process import serve; serve(int(sys.argv[1]))"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )
        self._connection = Connection(ours.detach())
        self._owner = os.getpid()

    def _ask(self, question: bytes) -> bytes | None:
        assert self._connection is not None
        self._connection.send_bytes(question)
        if self._connection.poll(TIMEOUT_SECONDS):
            return self._connection.recv_bytes()
        self.close()
        return None


def serve(descriptor: int) -> None:
    """Answers a `DecoderProcess` until it hangs up. Runs in the process that it starts."""
    import resource

    import imagecodecs

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(descriptor)
    while True:
        try:
            codec, _, stream = connection.recv_bytes().partition(b"\0")
        except EOFError:
            return
        connection.send_bytes(_answer(imagecodecs, codec.decode(), stream))


def _answer(imagecodecs: Any, codec: str, stream: bytes) -> bytes:
    try:
        pixels = np.ascontiguousarray(getattr(imagecodecs, f"{codec}_decode")(stream))
    # Whatever a decoder raises is an answer; each becomes a reason on the other side.
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        return json.dumps({"error": text}).encode()
    about = {"dtype": pixels.dtype.str, "shape": pixels.shape}
    return json.dumps(about).encode() + b"\n" + pixels.tobytes()
