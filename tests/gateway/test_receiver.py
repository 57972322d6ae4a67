"""What the receiver takes, and what it refuses: by pynetdicom, dcmtk and bare sockets."""

import logging
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from ich_tf.errors import InputError
from ich_tf.gateway import associations
from ich_tf.gateway import receiver as receiver_module
from ich_tf.gateway.config import (
    DestinationSection,
    GatewayConfig,
    LimitsSection,
    ReceiverSection,
    StowSection,
    TlsSection,
)
from ich_tf.gateway.destinations import DimseDestination
from ich_tf.gateway.ports import Refused, SendFailed
from ich_tf.gateway.rationed_log import RationedLog
from ich_tf.gateway.receiver import Receiver
from ich_tf.gateway.tls import client_context
from tests.support.certificates import Pair, make_pair, needs_openssl
from tests.support.dicom_files import make_dicom
from tests.support.inboxes import CT, KeepingInbox
from tests.support.orthanc import needs_dcmtk
from tests.support.processes import wait_until

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ECHO = "1.2.840.10008.1.1"


@pytest.fixture(autouse=True)
def unspent_ration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the warnings of each test be logged, however many those before it caused."""
    for module in (associations, receiver_module):
        monkeypatch.setattr(module, "_RATIONED", RationedLog(logging.getLogger(module.__name__)))


@contextmanager
def receiving(
    folder: Path, limits: LimitsSection | None = None, tls: TlsSection | None = None
) -> Iterator[tuple[Receiver, KeepingInbox]]:
    """A receiver of SCANNER that runs within the block."""
    inbox = KeepingInbox(folder)
    section = ReceiverSection(
        enabled=True, port=0, calling_ae_titles=("SCANNER",), tls=tls is not None
    )
    config = GatewayConfig(
        receiver=section, limits=limits or LimitsSection(), tls=tls or TlsSection()
    )
    receiver = Receiver(config, inbox)
    receiver.start()
    try:
        yield receiver, inbox
    finally:
        receiver.close()
        assert inbox.leftovers == []


@contextmanager
def associated(
    receiver: Receiver, calling: str = "SCANNER", called: str = "ICH_TF", **options: Any
) -> Iterator[Association]:
    """An association of pynetdicom, established or not."""
    entity = AE(calling)
    contexts = [build_context(uid, ExplicitVRLittleEndian) for uid in (CT, SECONDARY_CAPTURE, ECHO)]
    association = entity.associate("127.0.0.1", receiver.port, contexts, called, **options)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def ct_image(uid: str = "1.2.3.1", size: int = 64, sop_class: str = CT) -> pydicom.Dataset:
    pixels = np.zeros((size, size), np.int16)
    tags = {"SOPInstanceUID": uid, "SOPClassUID": sop_class}
    file = pydicom.filebase.DicomBytesIO(make_dicom(pixels, tags=tags))
    return pydicom.dcmread(file)


def storescu(receiver: Receiver, *arguments: str) -> subprocess.CompletedProcess:
    command = ["storescu", "-aet", "SCANNER", "-aec", "ICH_TF", *arguments]
    at = next((i for i, word in enumerate(command) if word.endswith(".dcm")), len(command))
    command[at:at] = ["127.0.0.1", str(receiver.port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, KeepingInbox]]:
    with receiving(tmp_path_factory.mktemp("spool")) as both:
        yield both


def test_images_come_as_they_were_sent(receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    image = ct_image("1.2.3.10")
    with associated(receiver[0]) as association:
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(image).Status == 0
    file = pydicom.dcmread(pydicom.filebase.DicomBytesIO(receiver[1].files["1.2.3.10"]))
    assert file == image
    assert file.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert receiver[1].sources == {"dimse"}
    assert "Secret" not in caplog.text
    assert "1.2.3.10" not in caplog.text


@needs_dcmtk
@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("-xr", "RLELosslessTransferSyntax_1.2.840.10008.1.2.5"),
        ("-xw", "JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91"),
    ],
)
def test_compressed_images_come_as_they_are(
    receiver, real_dicom: Path, option: str, syntax: str
) -> None:
    path = real_dicom / "transfer_syntaxes" / f"CTImage.dcm_{syntax}.dcm"
    done = storescu(receiver[0], option, str(path))
    assert done.returncode == 0, done.stderr
    sent = pydicom.dcmread(path)
    got = pydicom.dcmread(pydicom.filebase.DicomBytesIO(receiver[1].files[sent.SOPInstanceUID]))
    assert got.file_meta.TransferSyntaxUID == syntax.rsplit("_", 1)[1]
    assert got.PixelData == sent.PixelData


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "ICH_TF"), ("SCANNER", "OTHER")])
def test_unknown_titles_are_rejected(
    receiver, calling: str, called: str, caplog: pytest.LogCaptureFixture
) -> None:
    with associated(receiver[0], calling, called) as association:
        assert association.is_rejected
    assert "rejected" in caplog.text
    assert (calling if calling == "STRANGER" else called) in caplog.text


def test_what_the_inbox_refuses_has_a_status(receiver) -> None:
    with associated(receiver[0]) as association:
        other = association.send_c_store(ct_image("1.2.3.20", sop_class=SECONDARY_CAPTURE))
        assert (other.Status, other.ErrorComment) == (0x0122, "NOT_CT")
        # The association goes on.
        assert association.send_c_store(ct_image("1.2.3.21")).Status == 0
        receiver[1].refusal = Refused("DISK_FULL", "the disk is full.")
        full = association.send_c_store(ct_image("1.2.3.22"))
        receiver[1].refusal = None
        assert (full.Status, full.ErrorComment) == (0xA700, "DISK_FULL")
        assert association.send_c_store(ct_image("1.2.3.22")).Status == 0


def test_a_spool_that_cannot_be_written_is_out_of_resources(tmp_path: Path) -> None:
    with receiving(tmp_path) as (receiver, inbox), associated(receiver) as association:
        inbox.spool_dir = tmp_path / "gone"
        answer = association.send_c_store(ct_image())
        assert (answer.Status, answer.ErrorComment) == (0xA700, "DISK_FULL")
        inbox.spool_dir = tmp_path
        assert association.send_c_store(ct_image()).Status == 0


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
    with receiving(tmp_path, LimitsSection(idle_seconds=0.5)) as (receiver, _):
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


def test_a_port_that_is_taken_is_named(receiver, tmp_path: Path) -> None:
    section = ReceiverSection(enabled=True, port=receiver[0].port, calling_ae_titles=("SCANNER",))
    second = Receiver(GatewayConfig(receiver=section), KeepingInbox(tmp_path))
    with pytest.raises(InputError, match=rf"127.0.0.1:{section.port}, which cannot be listened on"):
        second.start()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = make_pair(folder, "authority"), make_pair(folder, "other")
    return {
        "authority": authority,
        "gateway": make_pair(folder, "gateway", authority),
        "scanner": make_pair(folder, "scanner", authority),
        "stranger": make_pair(folder, "stranger", other),
    }


@pytest.fixture(scope="module")
def tls_receiver(
    pairs: dict[str, Pair], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Receiver, KeepingInbox]]:
    section = TlsSection(
        certificate_file=str(pairs["gateway"].certificate),
        key_file=str(pairs["gateway"].key),
        ca_file=str(pairs["authority"].certificate),
    )
    with receiving(tmp_path_factory.mktemp("spool"), tls=section) as both:
        yield both


@needs_openssl
@needs_dcmtk
@pytest.mark.parametrize("client", ["scanner", "stranger", "none", "plain"])
def test_tls_clients_need_a_certificate_of_the_authority(
    tls_receiver, pairs: dict[str, Pair], client: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = tmp_path / "one.dcm"
    path.write_bytes(make_dicom(tags={"SOPInstanceUID": "1.2.3.40"}))
    authority = ("+cf", str(pairs["authority"].certificate))
    if client == "plain":
        options: tuple[str, ...] = ()
    elif client == "none":
        options = ("+tla", *authority)
    else:
        options = ("+tls", str(pairs[client].key), str(pairs[client].certificate), *authority)
    done = storescu(tls_receiver[0], *options, str(path))
    assert (done.returncode == 0) == (client == "scanner"), done.stderr
    assert ("1.2.3.40" in tls_receiver[1].files) == (client == "scanner")
    assert ("cut" in caplog.text) == (client != "scanner")
    tls_receiver[1].files.clear()


@needs_openssl
def test_a_silent_tls_client_keeps_nobody_waiting(tls_receiver, pairs: dict[str, Pair]) -> None:
    section = TlsSection(
        certificate_file=str(pairs["scanner"].certificate),
        key_file=str(pairs["scanner"].key),
        ca_file=str(pairs["authority"].certificate),
    )
    with (
        socket.create_connection(("127.0.0.1", tls_receiver[0].port)),
        associated(tls_receiver[0], tls_args=(client_context(section), "localhost")) as association,
    ):
        assert association.send_c_echo().Status == 0


@needs_openssl
def test_two_gateways_know_each_other_by_certificates(
    tls_receiver, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    """C-STORE by TLS from a destination to a receiver, each with a certificate."""
    path = tmp_path / "one.dcm"
    path.write_bytes(make_dicom(tags={"SOPInstanceUID": "1.2.3.50"}))

    def send(client: str) -> None:
        tls = TlsSection(
            certificate_file=str(pairs[client].certificate),
            key_file=str(pairs[client].key),
            ca_file=str(pairs["authority"].certificate),
        )
        destination = DestinationSection(
            kind="dimse",
            port=tls_receiver[0].port,
            ae_title="ICH_TF",
            calling_ae_title="SCANNER",
            tls=True,
            timeout_seconds=2.0,
        )
        config = GatewayConfig(stow=StowSection(enabled=True), destination=destination, tls=tls)
        DimseDestination(config).send([path])

    send("scanner")
    assert "1.2.3.50" in tls_receiver[1].files
    tls_receiver[1].files.clear()
    with pytest.raises(SendFailed, match="refuses tls.certificate_file") as raised:
        send("stranger")
    assert (raised.value.reason, raised.value.is_final) == ("TLS", False)
    assert tls_receiver[1].files == {}
