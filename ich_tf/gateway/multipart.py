"""A body of multipart/related (RFC 2387, PS3.18 8.6.1.2), piece by piece -> files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ich_tf.gateway.spool import SpoolFile
from ich_tf.serving.multipart_parts import HEADER_BYTES, MultipartParts

_DICOM = b"application/dicom"


class NotMultipart(Exception):  # noqa: N818 - an answer, not an error of this program
    """A body that is not what its sender says it is; the text says why."""


class DicomParts(MultipartParts):
    """Writes the parts of a body to files.

    Attributes:
      num_parts: Number of parts that are complete.
    """

    def __init__(
        self,
        content_type: str,
        new_file: Callable[[], SpoolFile],
        take: Callable[[SpoolFile], None],
    ) -> None:
        """Starts to parse.

        Args:
          content_type: Content-Type of the body.
          new_file: Makes the file of a part.
          take: Called with each file that is complete; it accepts or discards it.

        Raises:
          NotMultipart: If the type is another.
        """
        kind, options = parse_options_header(content_type)
        boundary, of = options.get(b"boundary", b""), options.get(b"type", _DICOM)
        if kind != b"multipart/related" or not 0 < len(boundary) <= 200:
            raise NotMultipart("expected multipart/related with a boundary.")
        if of.lower() != _DICOM:
            raise NotMultipart("expected parts of application/dicom.")
        super().__init__()
        self.num_parts = 0
        self._new_file, self._take = new_file, take
        self._file: SpoolFile | None = None
        self._delimiter = b"\r\n--" + boundary
        # The parser knows no text before the first part, which ends with a line of its own.
        self._preamble: bytes | None = b"\r\n"
        self._parser = MultipartParser(boundary, self.callbacks())

    def write(self, piece: bytes) -> None:
        """Parses the next piece.

        Raises:
          NotMultipart: If it cannot be a part of such a body.
        """
        if self._preamble is not None:
            text = self._preamble + piece
            most = HEADER_BYTES + len(self._delimiter)
            begin = text.find(self._delimiter, 0, most)
            if begin < 0:
                if len(text) > most:
                    raise NotMultipart("its first part does not begin.")
                self._preamble = text
                return
            piece, self._preamble = text[begin + 2 :], None
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise NotMultipart("the parts are not as multipart/related has them.") from error

    def finish(self) -> None:
        """Ends the body.

        Raises:
          NotMultipart: If it is not complete.
        """
        if not self.is_complete:
            raise NotMultipart("the body ends before its last part is complete.")

    def discard(self) -> None:
        """Forgets a part that is not complete."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def begin_part(self, headers: Mapping[bytes, bytes]) -> None:
        """Opens the file of a part."""
        kind, _ = parse_options_header(headers.get(b"content-type", _DICOM))
        if kind != _DICOM:
            raise NotMultipart("a part is not application/dicom.")
        self._file = self._new_file()

    def add_data(self, data: bytes) -> None:
        """Writes a piece of a part."""
        if self._file is not None:
            self._file.write(data)

    def end_part(self) -> None:
        """Hands over the file of a part."""
        file, self._file = self._file, None
        if file is not None:
            self.num_parts += 1
            self._take(file)
