"""TLS of the receiver: certificates of both sides, by dcmtk and pynetdicom."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_tf.gateway.config import (
    DestinationSection,
    GatewayConfig,
    StowSection,
    TlsSection,
)
from ich_tf.gateway.destinations import DimseDestination
from ich_tf.gateway.ports import SendFailed
from ich_tf.gateway.receiver import Receiver
from ich_tf.gateway.tls import client_context
from tests.support.certificates import Pair, make_pair, needs_openssl
from tests.support.dicom_files import make_dicom
from tests.support.inboxes import KeepingInbox
from tests.support.orthanc import needs_dcmtk
from tests.support.receivers import (
    associated,
    receiving,
    storescu,
    unspent_ration,
)


@pytest.fixture(autouse=True)
def unspent(monkeypatch: pytest.MonkeyPatch) -> None:
    unspent_ration(monkeypatch)


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
