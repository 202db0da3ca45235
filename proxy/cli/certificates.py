"""Whether the certificates and keys that a configuration names can be used, belong together, and
are valid for long enough.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from proxy.config.dsn import parse_dsn
from proxy.core.certificate import validity

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.model import Config, DatabaseConfig
    from proxy.config.problems import Loc


def certificate_problems(config: Config) -> Iterator[tuple[Loc, str]]:
    """Yield the places in the configuration whose files OpenSSL refuses, and what it says."""
    if config.listen.tls is not None:
        message = _refused(config.listen.tls)
        if message:
            yield ("listen", "tls"), message
    for name, session in config.sessions.items():
        message = "" if session.database is None else _refused_of_database(session.database)
        if message:
            yield ("sessions", name, "database"), message
    for name, upstream in config.upstreams.items():
        message = "" if upstream.tls is None else _refused(upstream.tls)
        if message:
            yield ("upstreams", name, "tls"), message


def certificate_advice(config: Config, now: float) -> Iterator[tuple[Loc, str]]:
    """Yield the certificates of ours that are not valid at the Unix time `now`, or soon not."""
    shown: list[tuple[Loc, Path | None]] = [
        (("upstreams", name, "tls", "cert"), upstream.tls.cert)
        for name, upstream in config.upstreams.items()
        if upstream.tls is not None
    ]
    if config.listen.tls is not None:
        shown.insert(0, (("listen", "tls", "cert"), config.listen.tls.cert))
    for loc, file in shown:
        if file is not None and (advice := _advice(file, now)):
            yield loc, advice


def _advice(file: Path, now: float) -> str:
    try:
        return validity(file.read_bytes()).advice(now)
    except (OSError, ValueError):
        return ""  # which is told elsewhere


def _refused_of_database(database: DatabaseConfig) -> str:
    root = database.sslrootcert or parse_dsn(database.url.get_secret_value()).sslrootcert
    return _refused(SimpleNamespace(ca=root, cert=database.sslcert, key=database.sslkey))


def _refused(tls: Any) -> str:
    """Return why a section's files cannot be used, or nothing. Sections have `cert`, `key`,
    maybe `ca`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if getattr(tls, "ca", None) is not None:
            context.load_verify_locations(tls.ca)
        if tls.cert is not None:
            # Without an answer OpenSSL would ask the terminal for the passphrase of an encrypted
            # key.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate (KEY_VALUES_MISMATCH)"
        return f"these files cannot be used: {error.reason or 'not PEM, or an encrypted key'}"
    except OSError as error:
        return f"these files cannot be used: {error.strerror or error}"
    return ""
