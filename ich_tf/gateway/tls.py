"""TLS of the gateway: TLS 1.2 or later, as BCP 195 asks (PS3.15 annex B)."""

from __future__ import annotations

import ssl
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.gateway.config import TlsSection
from ich_tf.runtime.permissions import check_secret_file


def server_context(section: TlsSection, *, asks_clients: bool) -> ssl.SSLContext:
    """Makes the TLS of what listens.

    Args:
      section: `[tls]` of the config.
      asks_clients: Whether clients have to show a certificate where the section asks for it; those
        of `[http]` send a token instead.

    Raises:
      InputError: If a file cannot be used; the message names its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, section)
    if asks_clients and section.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, section)
    return context


def client_context(section: TlsSection) -> ssl.SSLContext:
    """Makes the TLS of connections to archives, which shows the gateway's certificate, if any.

    Args:
      section: `[tls]` of the config.

    Raises:
      InputError: If a file cannot be used; the message names its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if section.ca_file:
        _load_authorities(context, section)
    else:
        context.load_default_certs()
    if section.certificate_file:
        _load_certificate(context, section)
    return context


def _load_certificate(context: ssl.SSLContext, section: TlsSection) -> None:
    _require_readable("certificate_file", section.certificate_file)
    _require_readable("key_file", section.key_file)
    check_secret_file(section.key_file, "tls.key_file")
    try:
        # An empty passphrase: OpenSSL would ask for one on the terminal.
        context.load_cert_chain(section.certificate_file, section.key_file, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"tls.certificate_file {section.certificate_file} and tls.key_file {section.key_file} "
            f"cannot be used ({_reason(error)}); expected a certificate and its own private key, "
            "PEM without a passphrase."
        ) from error


def _load_authorities(context: ssl.SSLContext, section: TlsSection) -> None:
    _require_readable("ca_file", section.ca_file)
    try:
        context.load_verify_locations(section.ca_file)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"tls.ca_file {section.ca_file} cannot be used ({_reason(error)}); expected "
            "certificates of authorities, PEM."
        ) from error


def _require_readable(key: str, file: str) -> None:
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise InputError(
            f"tls.{key} {file} cannot be read ({error.strerror or type(error).__name__}); give a "
            "PEM file that the gateway's user may read."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or type(error).__name__
