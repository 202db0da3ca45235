"""The listener's certificate, renewed when its files change.

A context is made anew for each certificate, and never changed: connections that are open keep the
one that they began with. A file that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from proxy.core.certificate import validity
from proxy.worker.sockets import server_context
from proxy.worker.watch import INTERVAL, Watch

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.config.model import ListenTls

_log = logging.getLogger("gatelodge.worker")


class Certificate:
    """What the listener shows in a handshake. `expires` is when it ends, in Unix time.

    Raises OSError when the files cannot be used.
    """

    def __init__(self, tls: ListenTls, interval: float = INTERVAL) -> None:
        self._tls = tls
        self._watch = Watch(lambda: self._files, self.renew, interval)
        self._task: asyncio.Task[None] | None = None
        self._files: Sequence[Path] = (tls.cert, tls.key)
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
        self._task = asyncio.get_running_loop().create_task(self._watch.run())

    def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()

    def _load(self) -> ssl.SSLContext:
        cert, key = self._tls.cert, self._tls.key
        try:
            context = server_context(self._tls)
            valid = validity(cert.read_bytes())
        except (OSError, ValueError) as error:  # ssl.SSLError among them
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            text = f"listen.tls: {cert} and {key} cannot be used: {reason}"
            raise OSError(getattr(error, "errno", None) or 0, text) from error
        self.expires = valid.ends
        if advice := valid.advice(time.time()):
            _log.warning(advice, extra={"file": str(cert)})
        return context
