"""Are the files there that will be opened at start-up? The one check that looks outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.dsn import parse_dsn
from proxy.config.problems import Loc

if TYPE_CHECKING:
    from proxy.config.model import Config, DatabaseConfig
    from proxy.config.problems import Report


def check_files(config: Config, report: Report) -> None:
    """Check that certificates and keys can be read and are PEM."""
    for loc, path in files_of(config):
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a file name"
            report.add(loc, f"this file cannot be read: {reason}")
            continue
        if b"-----BEGIN " not in data:
            report.add(loc, "this file is not PEM: it has no line that starts with -----BEGIN")


def files_of(config: Config) -> Iterator[tuple[Loc, Path]]:
    """Yield the files that a configuration names, secrets aside, and where it names them."""
    if config.listen.tls is not None:
        yield ("listen", "tls", "cert"), config.listen.tls.cert
        yield ("listen", "tls", "key"), config.listen.tls.key
    for name, session in config.sessions.items():
        for field in ("sslrootcert", "sslcert", "sslkey"):
            file: Path | None = getattr(session.database, field, None)
            if file is not None:
                yield ("sessions", name, "database", field), file
        yield from _file_in_url(name, session.database)
    if config.redis is not None and config.redis.ca is not None:
        yield ("redis", "ca"), config.redis.ca
    for name, upstream in config.upstreams.items():
        for field in ("ca", "cert", "key"):
            path: Path | None = getattr(upstream.tls, field, None)
            if path is not None:
                yield ("upstreams", name, "tls", field), path


def _file_in_url(session: str, database: DatabaseConfig | None) -> Iterator[tuple[Loc, Path]]:
    """Yield the file of roots that the URL names."""
    if database is None:
        return
    try:
        root = parse_dsn(database.url.get_secret_value()).sslrootcert
    except ValueError:
        return  # which is told elsewhere
    if root is not None:
        yield ("sessions", session, "database", "url"), Path(root)
