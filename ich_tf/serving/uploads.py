"""A multipart body, as it arrives -> files named by number in a folder of their own.

The names that a client gives its files are looked at once, to leave out clutter, and then
forgotten: they never reach the disk, a log line or an answer.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ich_tf.runtime.clutter import is_clutter
from ich_tf.serving.archives import TooMuch, is_archive, unpack
from ich_tf.serving.errors import Refused, disk_full
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.multipart_parts import MultipartParts

FIELD = "files"

# Awaited for the next piece of a body, which is empty at the end.
Receive = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True)
class UploadedFile:
    """A file of an upload.

    Attributes:
      file: Index among the files that were sent, from 0.
      entry: Index in the archive, from 0; None for a file that was in none.
      path: Path of its bytes; None if it was left out.
      reason, message: Code and text of the reason why it was left out; else empty.
    """

    file: int
    entry: int | None = None
    path: Path | None = None
    reason: str = ""
    message: str = ""


class Upload:
    """An upload, received in one part or in several; all parts together keep to the limits.

    Attributes:
      files: Files that have come, in their order, those of an archive in the order of its
        directory.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Receives nothing yet: `receive` does.

        Args:
          folder: Empty folder for the files, which the caller deletes.
          limits: Limits of the server.
        """
        self.files: list[UploadedFile] = []
        self._folder, self._limits = folder, limits
        self._left = limits.unpacked_mb * MIB
        self._sent = self._unpacked = 0

    async def receive(self, receive: Receive, content_type: str) -> None:
        """Receives a part, and unpacks its archives.

        Args:
          receive: Awaited for each piece of the body.
          content_type: Content-Type header of the request.

        Raises:
          Refused: If the body is not an upload of files, too large or too slow, or the disk is
            full.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Refused(
                400,
                "NOT_MULTIPART",
                "the body is not multipart/form-data; send the DICOM files as the field `files`, "
                "as in curl -F files=@one.dcm.",
            )
        parts = _Parts(self._folder, self._limits, self._sent)
        try:
            await self._write(receive, MultipartParser(boundary, parts.callbacks()))
            if not parts.is_complete:
                raise FormParserError("ended within a part")
        except FormParserError as error:
            raise Refused(
                400,
                "BAD_MULTIPART",
                "the body is not a complete multipart/form-data. Send it again.",
            ) from error
        except (TimeoutError, asyncio.TimeoutError) as error:  # two until Python 3.11
            limits = self._limits
            raise Refused(
                408,
                "TOO_SLOW",
                f"nothing came for {limits.idle_seconds:g} s, less than {limits.rate_kb:g} KiB/s, "
                f"or not all within {limits.upload_seconds:g} s. Send less at once.",
            ) from error
        except OSError as error:
            raise disk_full() from error
        finally:
            parts.end_part()
        self._sent = parts.count
        await asyncio.to_thread(self._unpack, parts.files)

    async def _write(self, receive: Receive, parser: MultipartParser) -> None:
        """Passes a body on as it comes.

        Raises:
          TimeoutError: If it is too slow.
          Refused: If it is too large.
        """
        limits = self._limits
        size, end = 0, time.monotonic() + limits.upload_seconds
        counted, since = 0, time.monotonic()
        while piece := await asyncio.wait_for(receive(), limits.idle_seconds):
            size += len(piece)
            if size > limits.body_mb * MIB:
                raise too_large(limits)
            now = time.monotonic()
            if now > end:
                raise TimeoutError
            if now - since > limits.rate_seconds:
                if size - counted < limits.rate_kb * 1024 * (now - since):
                    raise TimeoutError
                counted, since = size, now
            parser.write(piece)

    def _unpack(self, parts: list[tuple[int, Path]]) -> None:
        """Unpacks the archives of a part, and gives each file its number as a name."""
        limits = self._limits
        found = len(self.files)
        try:
            for place, path in parts:
                if is_archive(path):
                    self.files += [
                        UploadedFile(place, entry.index, entry.path, entry.reason, entry.message)
                        for entry in unpack(path, self._next_path, self._take, limits.files)
                    ]
                    path.unlink()
                else:
                    self._take(path.stat().st_size)
                    self.files.append(UploadedFile(place, path=path.rename(self._next_path())))
        except TooMuch as error:
            raise Refused(413, "TOO_LARGE", f"{error} Send one study at a time.") from error
        except OSError as error:
            raise disk_full() from error
        if len(self.files) == found:
            raise Refused(
                400, "NO_FILES", f"the form holds no file. Send DICOM files as `{FIELD}`."
            )

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooMuch(f"unpacked it has more than {self._limits.unpacked_mb} MiB.")

    def _next_path(self) -> Path:
        self._unpacked += 1
        if self._unpacked > self._limits.files:
            raise TooMuch(f"unpacked it has more than {self._limits.files} files.")
        return self._folder / f"{self._unpacked}"


def too_large(limits: Limits) -> Refused:
    """Makes the answer to a body that is too large."""
    return Refused(
        413,
        "TOO_LARGE",
        f"the upload has more than {limits.body_mb} MiB; send fewer files at once, or zipped.",
    )


def copied(sources: list[Path], folder: Path) -> list[UploadedFile]:
    """Copies files of this machine, as if they had been uploaded."""
    files = []
    for number, source in enumerate(sources):
        path = folder / f"{number}"
        shutil.copyfile(source, path)
        files.append(UploadedFile(number, path=path))
    return files


class _Parts(MultipartParts):
    """Writes the parts of a body to files as a parser finds them."""

    def __init__(self, folder: Path, limits: Limits, count: int) -> None:
        super().__init__()
        self.files: list[tuple[int, Path]] = []
        self.count = count
        self._folder, self._limits = folder, limits
        self._out: BinaryIO | None = None

    def begin_part(self, headers: Mapping[bytes, bytes]) -> None:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode():
            raise Refused(
                400, "UNKNOWN_FIELD", f"the form has another field than `{FIELD}`; send only files."
            )
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        place = self.count
        self.count += 1
        if self.count > self._limits.files:
            raise too_many(self._limits)
        # A browser without a file sends a part without a name.
        if not name or is_clutter(name):
            return
        path = self._folder / f"part-{place}"
        self.files.append((place, path))
        self._out = open(path, "xb")  # noqa: SIM115 - closed with the part

    def add_data(self, data: bytes) -> None:
        if self._out is not None:
            self._out.write(data)

    def end_part(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None


def too_many(limits: Limits) -> Refused:
    """Makes the answer to an upload of too many files."""
    return Refused(
        413,
        "TOO_MANY_FILES",
        f"the upload has more than {limits.files} files; send one study at a time.",
    )
