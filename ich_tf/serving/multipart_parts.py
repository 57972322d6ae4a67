"""The parts of a multipart body (RFC 2046 5.1): headers are collected, data are passed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Size of a header of one part; number of headers.
HEADER_BYTES = 8192
_HEADERS = 32


class MultipartParts:
    """What a parser of python_multipart calls; a subclass says what becomes of a part.

    Attributes:
      is_complete: Whether the body has ended with its last boundary.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""

    def begin_part(self, headers: Mapping[bytes, bytes]) -> None:
        """Called with the headers of a part, by their names in lower case."""
        raise NotImplementedError

    def add_data(self, data: bytes) -> None:
        """Called with each piece of a part."""
        raise NotImplementedError

    def end_part(self) -> None:
        """Called at the end of a part."""
        raise NotImplementedError

    def callbacks(self) -> MultipartCallbacks:
        """Returns what the parser is made with."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": lambda: self.begin_part(self._headers),
            "on_part_data": lambda data, start, end: self.add_data(data[start:end]),
            "on_part_end": self.end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._field, self._value = {}, b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field = self._bounded(self._field + data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _bounded(self, text: bytes) -> bytes:
        if len(text) > HEADER_BYTES or len(self._headers) > _HEADERS:
            raise FormParserError("headers without end")
        return text

    def _end(self) -> None:
        self.is_complete = True
