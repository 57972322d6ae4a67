"""Answers of archives to C-STORE."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO

from ich_tf.gateway.requestor import keep_answers
from tests.support.destinations import SECONDARY_CAPTURE, SR, failure, send, write_results
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_results(tmp_path_factory.mktemp("results"))


@contextmanager
def scp(handle: Callable[[evt.Event], int], contexts: Any = None, **fields: Any) -> Iterator[int]:
    """An archive by pynetdicom; gives its port."""
    entity = AE("ARCHIVE")
    for name, value in fields.items():
        setattr(entity, name, value)
    entity.supported_contexts = contexts or AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)]
    )
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        entity.shutdown()


def test_statuses_of_c_store(files: list[Path]) -> None:
    came = []

    def handle(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPClassUID)
        return next(statuses)

    failures = (
        (0xA700, "SERVER_ERROR", False),
        (0x0110, "SERVER_ERROR", False),
        (0x0124, "DENIED", False),
        (0xA900, "REJECTED", True),
        (0xC000, "REJECTED", True),
        (0x0122, "REJECTED", True),
    )
    with scp(handle) as port:
        for status, reason, is_final in failures:
            statuses = iter((status, 0))
            error = failure(files, kind="dimse", port=port)
            assert (error.reason, error.is_final) == (reason, is_final)
            assert f"{status:04X}" in error.text
        # What may be better next time is no final failure.
        statuses = iter((0xC000, 0xA700))
        assert not failure(files, kind="dimse", port=port).is_final
        # Warnings, and what was stored before.
        came.clear()
        statuses = iter((0xB000, 0xB007, 0x0111, 0x0000))
        send(files, kind="dimse", port=port)
        send(files, kind="dimse", port=port)
    assert came == [SECONDARY_CAPTURE, SR] * 2


def test_classes_and_titles_that_an_archive_does_not_take(files: list[Path]) -> None:
    def handle(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPClassUID)
        return 0

    came: list[str] = []
    captures = [c for c in AllStoragePresentationContexts if c.abstract_syntax == SECONDARY_CAPTURE]
    with scp(handle, captures) as port:
        error = failure(files, kind="dimse", port=port)
        assert (error.reason, error.is_final) == ("REJECTED", True)
        assert "Comprehensive 3D SR" not in error.text
        assert "Comprehensive SR Storage" in error.text
        # The others went.
        assert came == [SECONDARY_CAPTURE]
        assert failure(files[1:], kind="dimse", port=port).reason == "REJECTED"
    with scp(handle, require_calling_aet=["ANOTHER"]) as port:
        error = failure(files, kind="dimse", port=port)
        assert (error.reason, error.is_final) == ("DENIED", False)
        assert "Calling AE title" in error.text


def accept_association(client: socket.socket) -> None:
    """Accepts what `send` asks for, by hand: the first two contexts (PS3.8 9.3.3)."""

    def item(kind: int, data: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(data)) + data

    client.recv(65536)
    contexts = b"".join(
        item(0x21, struct.pack(">BxBx", number, 0) + item(0x40, b"1.2.840.10008.1.2.1"))
        for number in (1, 3)
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    body = struct.pack(">Hxx16s16s32x", 1, b"ARCHIVE".ljust(16), b"ICH_TF".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    client.sendall(struct.pack(">BxL", 2, len(body)) + body)


@pytest.mark.parametrize("behaviour", ["nothing", "silence", "half", "trickle"])
def test_an_archive_that_says_little_is_left(files: list[Path], behaviour: str) -> None:
    """Of DIMSE: no association; no answer; a message without an end; one, byte by byte."""
    ended = threading.Event()

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            if behaviour != "nothing":
                accept_association(client)
            if behaviour in ("half", "trickle"):
                client.sendall(struct.pack(">BxL", 4, 5000))
            try:
                while not ended.wait(0.1):
                    if behaviour == "trickle":
                        client.sendall(b"\0")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            error = failure(files, kind="dimse", port=listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()
    assert error.reason == ("TIMEOUT" if behaviour == "nothing" else "BAD_ANSWER")
    assert not error.is_final


def test_an_answer_is_left_to_who_waits_for_it() -> None:
    def taken(association: Association) -> bool:
        """Whether the association's own thread takes what is in the queue of messages."""
        messages = association.dimse.msg_queue
        messages.put((1, C_ECHO()))
        if wait_until(messages.empty, 1.0):
            return True
        messages.get_nowait()
        return False

    with scp(lambda event: 0) as port:
        entity = AE("ICH_TF")
        association = entity.associate("127.0.0.1", port, [build_context(SECONDARY_CAPTURE)])
        try:
            assert taken(association)  # pynetdicom may be mended
            keep_answers(association)
            time.sleep(0.1)
            assert not taken(association)
        finally:
            association.abort()
