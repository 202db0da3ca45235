"""TLS towards the endpoints of an upstream: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from hashlib import blake2b
from typing import TYPE_CHECKING

from proxy.config.model import UpstreamTls

if TYPE_CHECKING:
    from proxy.config.model import UpstreamConfig


def server_name(config: UpstreamConfig) -> str | None:
    """Return the name that certificates must hold where it is not the endpoint's host."""
    if config.tls is not None and config.tls.server_name is not None:
        return config.tls.server_name
    return None if config.dns is None else config.dns.name.host


def _is_https(config: UpstreamConfig) -> bool:
    addresses = [each.url for each in config.endpoints]
    if config.dns is not None:
        addresses.append(config.dns.name)
    return any(address.scheme == "https" for address in addresses)


def trust(config: UpstreamConfig) -> bytes:
    """Return a digest of all that a TLS connection depends on, files included. Raises OSError."""
    digest = blake2b(repr(server_name(config)).encode())
    for file in () if config.tls is None else (config.tls.ca, config.tls.cert, config.tls.key):
        digest.update(b"-" if file is None else file.read_bytes())
        digest.update(b"\0")
    return digest.digest()


def tls_context(config: UpstreamConfig) -> ssl.SSLContext | None:
    """Return the context for https endpoints: certificates are always verified, HTTP/1.1 is what we
    speak.

    None where no endpoint is https, because reading the system's roots takes 50 ms. Raises OSError
    (ssl.SSLError among them) when a file cannot be used.
    """
    if not _is_https(config):
        return None
    tls = config.tls or UpstreamTls()
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert is not None:
        # Without a password OpenSSL would ask for an encrypted key's on the terminal, and wait.
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    return context
