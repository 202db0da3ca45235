"""Our certificates, the listener's and those that upstreams are shown, renewed when files change.

Connections that are open keep the certificate that they began with. A file that cannot be used
changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from proxy.core.certificate import validity
from proxy.upstream.handshake import renew
from proxy.worker.sockets import server_context
from proxy.worker.watch import INTERVAL, Watch, marks_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from proxy.config.model import ListenTls, UpstreamTls
    from proxy.core.certificate import Validity
    from proxy.gateway.snapshot import Snapshot
    from proxy.worker.source import Mark

_log = logging.getLogger("gatelodge.worker")


class Certificates:
    """All certificates of ours. `context` gives that of the next handshake with a client; None: the
    listener has none.

    Raises OSError when the listener's files cannot be used.
    """

    def __init__(self, tls: ListenTls | None, snapshot: Callable[[], Snapshot]) -> None:
        self._listen = None if tls is None else Certificate(tls)
        self._upstreams = ClientCertificates(snapshot)
        self.context = None if self._listen is None else self._listen.context

    def __repr__(self) -> str:
        return f"<Certificates {self._listen} {self._upstreams}>"

    def check(self) -> None:
        """Raise OSError when the listener's files, as they are now, cannot be used."""
        if self._listen is not None:
            self._listen.read()

    def watch(self) -> None:
        """Renew them from now on when their files change; to be called again with another snapshot,
        which may have upstreams with TLS when there were none.
        """
        self._upstreams.watch()
        if self._listen is not None:
            self._listen.watch()

    def renew(self) -> None:
        """Read all files again."""
        self._upstreams.renew()
        if self._listen is not None:
            self._listen.renew()

    def stop(self) -> None:
        """Watch no more."""
        self._upstreams.stop()
        if self._listen is not None:
            self._listen.stop()

    def expiries(self) -> Iterator[tuple[str, float]]:
        """Yield where in the configuration a certificate stands, and when it ends, in Unix time."""
        if self._listen is not None:
            yield "listen", self._listen.expires
        yield from self._upstreams.expiries()


class Certificate:
    """What the listener shows in a handshake. `expires` is when it ends, in Unix time.

    Raises OSError when the files cannot be used.
    """

    def __init__(self, tls: ListenTls, interval: float = INTERVAL) -> None:
        self._tls = tls
        self._watch = Watch(self, lambda: True, self.renew, interval)
        self._task: asyncio.Task[None] | None = None
        self.marks: Mapping[Path, Mark] = {}
        self.expires = 0.0
        self._context = self._load()

    def __repr__(self) -> str:
        return f"<Certificate {self._tls.cert}>"

    def context(self) -> ssl.SSLContext:
        """Return the context for the next handshake."""
        return self._context

    def renew(self) -> None:
        """Read the files again, and use what is in them if that can be used."""
        try:
            self._context = self._load()
        except OSError as error:
            _log.error(
                "the new certificate cannot be used, the one before stays in use",
                extra={"reason": error.strerror},
            )
            return
        _log.info("certificate renewed", extra={"file": str(self._tls.cert)})

    def watch(self) -> None:
        """Renew it from now on whenever the files change."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch.run())

    def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()

    def read(self) -> tuple[ssl.SSLContext, Validity]:
        """Return what the files hold now. Raises OSError when that cannot be used."""
        cert, key = self._tls.cert, self._tls.key
        try:
            return server_context(self._tls), validity(cert.read_bytes())
        except (OSError, ValueError) as error:  # ssl.SSLError among them
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            text = f"listen.tls: {cert} and {key} cannot be used: {reason}"
            raise OSError(getattr(error, "errno", None) or 0, text) from error

    def _load(self) -> ssl.SSLContext:
        cert, key = self._tls.cert, self._tls.key
        self.marks = marks_of((cert, key))  # before they are read: what changes then is not missed
        context, valid = self.read()
        self.expires = valid.ends
        if advice := valid.advice(time.time()):
            _log.warning(advice, extra={"file": str(cert)})
        return context


class ClientCertificates:
    """What is shown to the upstreams of the snapshot in use, and whom they are known by."""

    def __init__(self, snapshot: Callable[[], Snapshot], interval: float = INTERVAL) -> None:
        self._snapshot = snapshot
        self._watch = Watch(self, lambda: True, self.renew, interval)
        self._read: dict[Path, Mark] = {}
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ClientCertificates upstreams={len(list(self._used()))}>"

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """The files, and what they were when they were last read; those that are new here were read
        with the configuration that names them.
        """
        files = [*self._files()]
        self._read.update(marks_of([file for file in files if file not in self._read]))
        return {file: self._read[file] for file in files}

    def renew(self) -> None:
        """Read the files of all upstreams again."""
        self._read = marks_of([*self._files()])
        for name, context, tls in self._used():
            try:
                renew(context, tls)
            except OSError as error:
                reason = getattr(error, "reason", None) or error.strerror or str(error)
                _log.error(
                    "the new certificate of an upstream cannot be used, the one before stays",
                    extra={"upstream": name, "reason": reason},
                )
            else:
                _log.info("certificates of an upstream read again", extra={"upstream": name})

    def watch(self) -> None:
        """Renew them from now on whenever one of the files changes, if there are any; to be called
        again when there may be some that were not there before.
        """
        is_needed = bool(self.marks)  # what they are now is what they were read as
        if self._task is None and is_needed:
            self._task = asyncio.get_running_loop().create_task(self._watch.run())

    def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()

    def expiries(self) -> Iterator[tuple[str, float]]:
        """Yield the upstreams that a certificate is shown to, and when it ends, in Unix time."""
        for name, _, tls in self._used():
            if tls.cert is not None:
                try:
                    yield f"upstreams.{name}", validity(tls.cert.read_bytes()).ends
                except (OSError, ValueError):
                    pass  # being replaced; the one in use was told when it was read

    def _used(self) -> Iterator[tuple[str, ssl.SSLContext, UpstreamTls]]:
        snapshot = self._snapshot()
        for name, pool in snapshot.pools.items():
            tls = snapshot.config.upstreams[name].tls
            if tls is not None and pool.tls is not None:
                yield name, pool.tls, tls

    def _files(self) -> Iterator[Path]:
        for _, _, tls in self._used():
            yield from (file for file in (tls.ca, tls.cert, tls.key) if file is not None)
