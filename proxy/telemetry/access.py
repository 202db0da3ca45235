"""The access log: one line per exchange, written in batches, never blocking the loop.

No query, no cookie, no token is ever in a line. A path is what the client wrote: JSON and the text
form both escape what could end the line or move a terminal's cursor.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange

BATCH: Final = 64 * 1024
"""Bytes after which a batch is written without waiting for the next tick."""
HELD: Final = 1024 * 1024
"""Bytes kept while the reader of the log is behind; lines beyond are dropped and counted."""

_PATH_MAX: Final = 1024
_USER_MAX: Final = 256
"""Characters of a path and of a user id in a line: with these a line is shorter than PIPE_BUF."""

Render = Callable[["Exchange", float], bytes]


def fields(x: Exchange, seconds: float) -> dict[str, Any]:
    """Return what the line of a finished exchange says; durations in seconds, sizes in bytes."""
    return {
        "time": datetime.fromtimestamp(x.now, UTC).isoformat(timespec="milliseconds"),
        "event": "request",
        "request_id": x.request_id,
        "trace_id": x.trace_id,
        "client": x.client.address,
        "method": x.head.method,
        "path": _path(x.head.target),
        "route": x.route.name if x.route else None,
        "user": _shown(x.user, _USER_MAX) or None,
        "status": x.status,
        "code": x.code or None,
        "reason": x.reason or None,
        "upstream": x.upstream or None,
        "endpoint": x.endpoint or None,
        "attempts": x.attempts,
        "duration": round(seconds, 6),
        "upstream_duration": round(x.upstream_seconds, 6) if x.attempts else None,
        "bytes_in": x.bytes_in,
        "bytes_out": x.bytes_out,
    }


def _path(target: str) -> str:
    """Return the target without its query, in characters that every log can hold.

    A target in absolute form may carry a user and a password, which are left out.
    """
    path = target.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        path = path.rpartition("@")[2]
    return _shown(path, _PATH_MAX)


def _shown(text: str, most: int) -> str:
    """Return `text` in printable ASCII, cut to `most` characters."""
    shown = text[: most + 1].encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def as_json(x: Exchange, seconds: float) -> bytes:
    """Return the line as JSON."""
    return orjson.dumps(fields(x, seconds), option=orjson.OPT_APPEND_NEWLINE)


def as_text(x: Exchange, seconds: float) -> bytes:
    """Return the line for a terminal."""
    said = f"{x.code}: {x.reason}" if x.reason else x.code
    parts = [
        datetime.fromtimestamp(x.now, UTC).strftime("%H:%M:%S"),
        str(x.status),
        x.head.method or "-",
        _path(x.head.target) or "-",
        f"{seconds * 1000:.1f} ms",
        f"user={_shown(x.user, _USER_MAX)}" if x.user else "",
        said,
    ]
    return " ".join(part for part in parts if part).encode("ascii", "backslashreplace") + b"\n"


class AccessLog:
    """Writes lines to a file descriptor without ever waiting for it; call `flush` at every tick.

    POSIX lets a pipe that is writable take PIPE_BUF bytes at once, so asking first and writing no
    more than that at a time cannot block, and needs no flag on a descriptor that other processes
    share. `dropped` counts the lines that could not be kept while the reader was behind.
    """

    def __init__(self, descriptor: int, render: Render) -> None:
        self._descriptor = descriptor
        self.render = render
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._size = 0
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<AccessLog held={self._size} dropped={self.dropped}>"

    def add(self, x: Exchange, seconds: float) -> None:
        """Note a finished exchange that took `seconds`."""
        if self._size > HELD:
            self.dropped += 1
            return
        line = self.render(x, seconds)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is there, as far as the descriptor takes it."""
        while self._lines and self._poll.poll(0):
            batch = self._batch()
            try:
                os.write(self._descriptor, b"".join(batch))
            except OSError:
                self.dropped += len(
                    batch
                )  # nobody reads the log any more, so there is nobody to tell

    def _batch(self) -> list[bytes]:
        """Take whole lines off the front, up to PIPE_BUF bytes; one that is longer alone."""
        batch: list[bytes] = []
        size = 0
        while self._lines and (not batch or size + len(self._lines[0]) <= select.PIPE_BUF):
            line = self._lines.popleft()
            batch.append(line)
            size += len(line)
        self._size -= size
        return batch
