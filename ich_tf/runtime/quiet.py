"""Libraries that would log what patients' data hold."""

from __future__ import annotations

import logging
import warnings

# httpx and httpcore log addresses, which hold StudyInstanceUIDs; the others quote values.
_LIBRARIES = (
    "httpx", "httpcore", "pynetdicom", "pydicom", "highdicom", "nibabel", "python_multipart"
)  # fmt: skip


def quiet_libraries() -> None:
    """Silences the logs and warnings of the libraries that read patients' data."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
