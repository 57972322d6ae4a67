"""What the receiver takes, and what it refuses: by pynetdicom and dcmtk."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from ich_tf.errors import InputError
from ich_tf.gateway.config import (
    GatewayConfig,
    ReceiverSection,
)
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.receiver import Receiver
from tests.support.inboxes import KeepingInbox
from tests.support.orthanc import needs_dcmtk
from tests.support.receivers import (
    SECONDARY_CAPTURE,
    associated,
    ct_image,
    receiving,
    storescu,
    unspent_ration,
)


@pytest.fixture(autouse=True)
def unspent(monkeypatch: pytest.MonkeyPatch) -> None:
    unspent_ration(monkeypatch)


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


def test_a_port_that_is_taken_is_named(receiver, tmp_path: Path) -> None:
    section = ReceiverSection(enabled=True, port=receiver[0].port, calling_ae_titles=("SCANNER",))
    second = Receiver(GatewayConfig(receiver=section), KeepingInbox(tmp_path))
    with pytest.raises(InputError, match=rf"127.0.0.1:{section.port}, which cannot be listened on"):
        second.start()
