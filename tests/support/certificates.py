"""Certificates for tests of TLS: an authority, a server, clients; made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl"
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


def make_pair(folder: Path, name: str, authority: Pair | None = None) -> Pair:
    """Makes a certificate of 127.0.0.1 and localhost.

    Args:
      folder: Folder of its files.
      name: Its common name, and the name of its files.
      authority: What signs it; None: itself.
    """
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    signed = ("-CA", str(authority.certificate), "-CAkey", str(authority.key)) if authority else ()
    # Python 3.13 holds certificates to the standard: one that signs nothing is no authority.
    extensions = ("keyUsage=keyCertSign",)
    if authority:
        extensions = ("subjectAltName=IP:127.0.0.1,DNS:localhost", "basicConstraints=CA:FALSE")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", f"/CN={name}", *signed),
        *(word for extension in extensions for word in ("-addext", extension)),
        *("-keyout", str(pair.key), "-out", str(pair.certificate)),
    ]
    pair.key.touch(0o600)
    subprocess.run(command, check=True, capture_output=True)
    return pair
