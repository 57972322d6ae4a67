"""Senders that send too much, too little, or nonsense: by pynetdicom and bare sockets."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from ich_tf.gateway.config import (
    LimitsSection,
)
from ich_tf.gateway.receiver import Receiver
from tests.support.inboxes import CT, KeepingInbox
from tests.support.processes import wait_until
from tests.support.receivers import (
    associated,
    ct_image,
    receiving,
    unspent_ration,
)


@pytest.fixture(autouse=True)
def unspent(monkeypatch: pytest.MonkeyPatch) -> None:
    unspent_ration(monkeypatch)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, KeepingInbox]]:
    with receiving(tmp_path_factory.mktemp("spool")) as both:
        yield both


def test_sizes_have_limits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of 2 MiB is read and dropped; 3 MiB in all cut the association."""
    limits = LimitsSection(instance_mb=1, association_mb=3)
    with receiving(tmp_path, limits) as (receiver, inbox), associated(receiver) as association:
        large = association.send_c_store(ct_image("1.2.3.1", 1024))
        assert (large.Status, large.ErrorComment) == (0xA700, "TOO_LARGE")
        assert association.send_c_store(ct_image("1.2.3.2")).Status == 0
        assert "Status" not in association.send_c_store(ct_image("1.2.3.3", 1024))
        assert list(inbox.files) == ["1.2.3.2"]
        assert "limits.association_mb = 3" in caplog.text


def test_more_associations_than_allowed_are_rejected(tmp_path: Path) -> None:
    with receiving(tmp_path, LimitsSection(associations=1)) as (receiver, _):
        with associated(receiver) as first, associated(receiver) as second:
            assert first.is_established
            assert second.is_rejected
            assert first.send_c_store(ct_image()).Status == 0
        with associated(receiver) as third:
            assert third.is_established


def test_an_association_an_image_is_no_flood(tmp_path: Path) -> None:
    with receiving(tmp_path, LimitsSection(associations=1)) as (receiver, inbox):
        receiver._server.watch_seconds = 60.0
        for number in range(10):
            with associated(receiver) as association:
                assert association.send_c_store(ct_image(f"1.2.3.{number}")).Status == 0
        assert len(inbox.files) == 10


def request_association(client: socket.socket) -> None:
    """Associates by hand, for CT alone: PS3.8 9.3.2."""

    def item(kind: int, data: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(data)) + data

    syntaxes = item(0x30, CT.encode()) + item(0x40, ExplicitVRLittleEndian.encode())
    context = item(0x20, struct.pack(">Bxxx", 1) + syntaxes)
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    titles = struct.pack(">Hxx16s16s32x", 1, b"ICH_TF".ljust(16), b"SCANNER".ljust(16))
    body = titles + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    client.sendall(struct.pack(">BxL", 1, len(body)) + body)
    assert client.recv(1) == b"\x02"
    client.recv(4096)


def is_cut(client: socket.socket) -> bool:
    """Whether the other side ends the connection within 5 s."""
    client.settimeout(5)
    try:
        while client.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_silence_ends_a_connection(tmp_path: Path) -> None:
    """Nothing at all; half a message; and an association that is held open."""
    with receiving(tmp_path, LimitsSection(idle_seconds=2.0)) as (receiver, _):
        clients = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(3)]
        request_association(clients[1])
        clients[1].sendall(struct.pack(">BxL", 4, 5000) + bytes(100))
        request_association(clients[2])
        for client in clients:
            with client:
                assert is_cut(client)
        with associated(receiver) as association:
            assert association.is_established


def test_a_trickle_ends_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = LimitsSection(idle_seconds=0.6)
    with receiving(tmp_path, limits) as (receiver, _):
        with socket.create_connection(("127.0.0.1", receiver.port)) as client:
            request_association(client)
            client.sendall(struct.pack(">BxL", 4, 5000))
            client.settimeout(0.05)

            def is_ended() -> bool:
                try:
                    client.sendall(b"\0")
                    return client.recv(4096) == b""
                except TimeoutError:
                    return False
                except ConnectionError:
                    return True

            assert wait_until(is_ended, 10)
        assert "limits.idle_seconds = 0.6" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        struct.pack(">BxL", 4, 2**32 - 1),  # 4 GiB announced
        struct.pack(">BxL", 0x16, 5),  # a greeting of TLS
        # A whole command set that holds nothing.
        struct.pack(">BxLLBB", 4, 6, 2, 1, 3),
        # A command set without end, in fragments that are not the last ones.
        (struct.pack(">BxLLBB", 4, 16006, 16002, 1, 1) + bytes(16000)) * 8,
    ],
    ids=("4 GiB", "TLS", "empty", "endless"),
)
def test_messages_without_end_or_sense_cut_a_connection(
    receiver, message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhandled: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    with socket.create_connection(("127.0.0.1", receiver[0].port)) as client:
        request_association(client)
        client.sendall(message)
        assert is_cut(client)
    assert unhandled == []


def test_a_file_that_breaks_off_leaves_nothing(receiver) -> None:
    """An aborted association, with half a file in the spool."""
    command = pydicom.Dataset()
    command.AffectedSOPClassUID, command.CommandField = CT, 1
    command.MessageID, command.Priority, command.CommandDataSetType = 1, 0, 1
    command.AffectedSOPInstanceUID = "1.2.3.30"
    file = pydicom.filebase.DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(file, command)
    data = file.getvalue()
    with socket.create_connection(("127.0.0.1", receiver[0].port)) as client:
        request_association(client)
        client.sendall(
            struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, 1, 3)
            + data
            + struct.pack(">BxLLBB", 4, 1006, 1002, 1, 0)
            + bytes(1000)
        )
        assert wait_until(lambda: receiver[1].leftovers, 5)
    assert wait_until(lambda: not receiver[1].leftovers, 5)
    assert "1.2.3.30" not in receiver[1].files


def test_a_sender_is_not_cut_for_the_time_that_the_disk_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = KeepingInbox.accept

    def slow(inbox: KeepingInbox, path: Path, source: str) -> None:
        if not inbox.files:
            time.sleep(5.0)
        accept(inbox, path, source)

    monkeypatch.setattr(KeepingInbox, "accept", slow)
    with (
        receiving(tmp_path, LimitsSection(idle_seconds=3.0)) as (receiver, inbox),
        associated(receiver) as association,
    ):
        for number in range(2):
            assert association.send_c_store(ct_image(f"1.2.3.{number}")).get("Status") == 0
        assert len(inbox.files) == 2
