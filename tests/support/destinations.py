"""What tests of destinations send, and what is said when it is not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.gateway.config import (
    DestinationSection,
    GatewayConfig,
    LimitsSection,
    StowSection,
    TlsSection,
)
from ich_tf.gateway.destinations import make_destination
from ich_tf.gateway.ports import SendFailed
from tests.support.dicom_files import make_dicom

SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def send(files: list[Path], tls_section: TlsSection | None = None, **section: Any) -> None:
    config = GatewayConfig(
        stow=StowSection(enabled=True),
        destination=DestinationSection(**section),
        tls=tls_section or TlsSection(),
        limits=LimitsSection(association_minutes=0.02),
    )
    destination = make_destination(config)
    assert destination is not None
    destination.send(files)


def failure(files: list[Path], tls_section: TlsSection | None = None, **section: Any) -> SendFailed:
    with pytest.raises(SendFailed) as raised:
        send(files, tls_section, timeout_seconds=0.4, **section)
    for private in ("Secret", "P1", "1.2.4", "1.2.3"):
        assert private not in raised.value.text.replace("127.0.0.1", "")
    return raised.value


def write_results(folder: Path) -> list[Path]:
    """Two objects of one study."""
    paths = []
    for number, sop_class in enumerate((SECONDARY_CAPTURE, SR)):
        tags = {
            "SOPInstanceUID": f"1.2.3.{number + 1}",
            "SOPClassUID": sop_class,
            "SeriesInstanceUID": f"1.2.5.{number + 1}",
            "Modality": ("OT", "SR")[number],
        }
        data = make_dicom(np.zeros((32, 32), np.int16), tags=tags)
        path = folder / f"{number}.dcm"
        # make_dicom's meta information names CT.
        path.write_bytes(data)
        _set_meta(path, sop_class, tags["SOPInstanceUID"])
        paths.append(path)
    return paths


def _set_meta(path: Path, sop_class: str, uid: str) -> None:
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path)
