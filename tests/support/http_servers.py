"""An HTTP server whose answers a test writes byte by byte."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """A request that came, with its body; `answer` sends bytes as they are."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: Callable[[bytes], None]


def response(status: int, body: bytes = b"", kind: str = "application/dicom+json") -> bytes:
    """The bytes of an answer."""
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def http_server(
    handle: Callable[[Request], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that runs within the block; gives its address.

    Args:
      handle: Answers a request.
      tls: TLS of its connections; None for plain ones.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}

            def answer(data: bytes) -> None:
                with contextlib.suppress(OSError):
                    self.wfile.write(data)
                    self.wfile.flush()

            handle(Request(self.command, self.path, headers, body, answer))
            self.close_connection = True

        do_GET = do_POST = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
