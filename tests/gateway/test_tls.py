"""Files of `[tls]` that cannot be used are named by their key."""

import ssl
import subprocess
from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.gateway.config import TlsSection
from ich_tf.gateway.tls import client_context, server_context
from tests.support.certificates import make_pair, needs_openssl
from tests.support.secret_files import write_secret

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_pair(folder, "authority")
    pair = make_pair(folder, "gateway", authority)
    return {
        "certificate_file": str(pair.certificate),
        "key_file": str(pair.key),
        "ca_file": str(authority.certificate),
    }


def test_old_versions_are_refused(good: dict[str, str]) -> None:
    section = TlsSection(**good)
    for context in (server_context(section, asks_clients=True), client_context(section)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
    assert server_context(section, asks_clients=False).verify_mode == ssl.CERT_NONE
    assert client_context(TlsSection()).check_hostname


@pytest.mark.parametrize("key", ["certificate_file", "key_file", "ca_file"])
def test_a_file_that_cannot_be_used_is_named(
    good: dict[str, str], key: str, tmp_path: Path
) -> None:
    gone, text = tmp_path / "gone.pem", tmp_path / "text.pem"
    write_secret(text, "no certificate")
    for path, reason in ((gone, "cannot be read (No such file"), (text, "cannot be used")):
        with pytest.raises(InputError) as raised:
            server_context(TlsSection(**{**good, key: str(path)}), asks_clients=True)
        assert f"tls.{key} {path}" in str(raised.value)
        assert reason in str(raised.value)


def test_a_key_of_another_certificate_or_with_a_passphrase_is_named(
    good: dict[str, str], tmp_path: Path
) -> None:
    other = make_pair(tmp_path, "other").key
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", good["key_file"], "-out", locked, "-aes128"]
    subprocess.run([*command, "-passout", "pass:word"], check=True, capture_output=True)
    for key in (other, locked):
        with pytest.raises(InputError, match="its own private key, PEM without a passphrase"):
            client_context(TlsSection(**{**good, "key_file": str(key)}))
