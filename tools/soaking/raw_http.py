"""Requests byte by byte, as no client library would send them."""

from __future__ import annotations

import contextlib
import socket
import time


def head(method: str, path: str, **headers: str) -> bytes:
    """The head of a request, without the empty line; underscores of names stand for dashes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


def exchange(port: int, *pieces: bytes, pause: float = 0.0, seconds: float = 30.0) -> int:
    """Sends pieces, and reads the answer to its end.

    Args:
      port: Port on this machine.
      *pieces: Pieces of the request.
      pause: Time between two of them, s.
      seconds: Longest time to wait for an answer.

    Returns:
      The status of the answer; 0 if the connection was closed without one, -1 if there was none in
      time.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        # The other side may close it while it is still sent to; it has answered before.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        received = b""
        try:
            while len(received) < 65536 and (piece := connection.recv(65536)):
                received += piece
                if received.startswith(b"HTTP/1.1 ") and b"\r\n" in received:
                    break
        except ConnectionError:
            pass
        except TimeoutError:
            return -1
    words = received.split(b" ", 2)
    return int(words[1]) if received.startswith(b"HTTP/1.1 ") and words[1].isdigit() else 0


def hang_up(port: int, *pieces: bytes, abruptly: bool) -> None:
    """Sends pieces, and goes away without an answer; abruptly with a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        if abruptly:
            # SO_LINGER of no time: what was not sent is dropped, and the other side is told so.
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
