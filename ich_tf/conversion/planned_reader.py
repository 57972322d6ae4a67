"""Reading what was planned: the slices of a shard, from files that may have changed since."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ich_tf.conversion.plan import PlannedSlice
from ich_tf.dicom.reader import Slice
from ich_tf.dicom.reasons import READER_DIED, DicomError, Reason
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.runtime.sandbox import Handler, Sandbox, SandboxDied

# A file that takes longer than this to read in a sandbox counts as one that ended it.
_PROBE_SECONDS = 120.0
_PROBE_BYTES = 2**30


class PlannedReader:
    """Reads planned slices. A context manager: it may hold a file open and a process running."""

    def __init__(self, sources: Iterable[Source], *, careful: bool = False) -> None:
        """Reads nothing yet.

        Args:
          sources: Files of the slices and of their alternates.
          careful: Whether each slice is read in a sandbox first, to see whether that survives it.
        """
        self._sources = {source.name: source for source in sources}
        self._reader = SourceReader()
        self._sandbox: Sandbox | None = None
        if careful:
            target = f"{__name__}:make_handler"
            self._sandbox = Sandbox(target, added_bytes=_PROBE_BYTES, own_session=False)

    def __enter__(self) -> PlannedReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)
        if self._sandbox is not None:
            self._sandbox.close()

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that was read last, hexadecimal; empty if it was not read whole."""
        return self._reader.sha256

    def read(self, planned: PlannedSlice, name: str) -> Slice:
        """Reads a slice.

        Args:
          planned: Planned slice.
          name: Name of the file to read it from: the planned one, or an alternate.

        Raises:
          DicomError: If it cannot be read, or is not the slice that was planned.
        """
        source = self._sources[name]
        if self._sandbox is not None:
            _probe(self._sandbox, source, planned.frame)
        try:
            slice_ = self._reader.slice(source, planned.frame)
        except DicomError as error:
            if error.reason is not Reason.UNREADABLE:
                raise
            # Once more: networks and disks fail for a moment.
            slice_ = self._reader.slice(source, planned.frame)
        if slice_.header.digest() != planned.digest:
            raise DicomError(
                Reason.FILE_CHANGED,
                "its header is not the one that the plan was made from: the file was changed or "
                "replaced meanwhile.",
            )
        return slice_


def make_handler() -> Handler:
    """Returns the function that reads a slice and drops it. Runs in the sandbox."""

    def handler(message: bytes) -> Iterator[bytes]:
        root, name, frame = json.loads(message)
        # What it raises is raised again outside, where it is handled.
        with SourceReader() as reader, contextlib.suppress(DicomError):
            reader.slice(Source(Path(root), name), frame)
        yield b""

    return handler


def _probe(sandbox: Sandbox, source: Source, frame: int) -> None:
    """Reads a slice in a sandbox.

    Raises:
      DicomError: DECODER_DIED, if the sandbox dies of it, or takes too long.
    """
    try:
        sandbox.send(json.dumps([str(source.root), source.name, frame]).encode())
        answer = sandbox.receive(_PROBE_SECONDS)
    except SandboxDied as error:
        raise DicomError(Reason.DECODER_DIED, READER_DIED) from error
    if answer is None:
        raise DicomError(
            Reason.DECODER_DIED,
            f"the process that was to read it took longer than {_PROBE_SECONDS:g} s.",
        )
