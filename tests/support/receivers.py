"""A receiver on loopback, and senders that use it."""

from __future__ import annotations

import logging
import subprocess
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

from ich_tf.gateway import associations, connection
from ich_tf.gateway import receiver as receiver_module
from ich_tf.gateway.config import (
    GatewayConfig,
    LimitsSection,
    ReceiverSection,
    TlsSection,
)
from ich_tf.gateway.receiver import Receiver
from ich_tf.runtime.rationed_log import RationedLog
from tests.support.dicom_files import make_dicom
from tests.support.inboxes import CT, KeepingInbox

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ECHO = "1.2.840.10008.1.1"


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


def unspent_ration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the warnings of each test be logged, however many those before it caused."""
    for module in (associations, connection, receiver_module):
        monkeypatch.setattr(module, "_RATIONED", RationedLog(logging.getLogger(module.__name__)))
