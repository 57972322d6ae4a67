"""Decoding in a process of its own: a codestream that kills its decoder costs one file.

Decoders are C code that reads bytes from strangers, so that they run in a sandbox. One codestream
goes over and one image comes back: half a millisecond beside the two to twenty of decoding.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.runtime.sandbox import Handler, Sandbox, SandboxDied

# CPU time that a codestream may take: the same file gives the same result on a busy machine.
CPU_SECONDS = 8
# Longest time on the clock, which says more of the machine than of the file.
TIMEOUT_SECONDS = 240.0
# Private memory of the process, libraries included; a slice of 4096 x 4096 pixels takes 64 MiB.
MEMORY_BYTES = 768 * 2**20
# Type and shape of an image, or an error's text, as JSON.
_DESCRIPTION_BYTES = 4096


class DecoderProcess:
    """A process that runs imagecodecs' decoders; started on first use, shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The server reads files in sandboxes, of which this process has to be a part.
        self._process = Sandbox(
            "ich_tf.dicom.decoder_process:make_handler",
            private_bytes=MEMORY_BYTES,
            cpu_seconds=CPU_SECONDS,
            own_session=False,
        )

    def decode(self, codec: str, stream: bytes, max_bytes: int) -> np.ndarray:
        """Decodes one codestream.

        Args:
          codec: Decoder of imagecodecs: `jpeg8`, `jpegls` or `jpeg2k`.
          stream: Codestream.
          max_bytes: Size of the largest image to accept, bytes.

        Returns:
          Pixels, an array of the codestream's shape and type.

        Raises:
          DicomError: DECODE_FAILED, DECODER_DIED or DECODER_TIMEOUT.
          OSError: If the process cannot be started.
        """
        with self._lock:
            try:
                self._process.send(codec.encode() + b"\0" + stream)
                answer = self._process.receive(TIMEOUT_SECONDS, max_bytes + _DESCRIPTION_BYTES)
            except SandboxDied as error:
                if error.code == -signal.SIGXCPU:
                    message = f"the {codec} decoder took more than {CPU_SECONDS} s of CPU time."
                else:
                    message = f"its codestream ended the {codec} decoder (code {error.code})."
                raise DicomError(Reason.DECODER_DIED, message) from error
        if answer is None:
            raise DicomError(
                Reason.DECODER_TIMEOUT,
                f"the {codec} decoder did not end within {TIMEOUT_SECONDS:g} s: the machine is "
                "too busy.",
            )
        head, _, body = answer.partition(b"\n")
        description = json.loads(head)
        if "error" in description:
            raise DicomError(Reason.DECODE_FAILED, f"{codec}: {description['error']}.")
        return np.frombuffer(body, description["dtype"]).reshape(description["shape"])

    def close(self) -> int | None:
        """Ends the process, if there is one; returns its exit code."""
        return self._process.close()


def make_handler() -> Handler:
    """Loads imagecodecs, and returns the function that decodes. Runs in the sandbox."""
    import imagecodecs

    def handler(message: bytes) -> Iterator[bytes]:
        codec, _, stream = message.partition(b"\0")
        yield _answer(imagecodecs, codec.decode(), stream)

    return handler


def _answer(imagecodecs: Any, codec: str, stream: bytes) -> bytes:
    """One line of JSON with type and shape, then the pixels; or one line with the error."""
    try:
        pixels = np.ascontiguousarray(getattr(imagecodecs, f"{codec}_decode")(stream))
    # Whatever a decoder raises is an answer; each becomes a reason on the other side.
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        return json.dumps({"error": text}).encode()
    description = {"dtype": pixels.dtype.str, "shape": pixels.shape}
    return json.dumps(description).encode() + b"\n" + pixels.tobytes()
