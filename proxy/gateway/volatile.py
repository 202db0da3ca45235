"""Header fields with another value in each request: ids that proxies and tracing libraries add.

Nothing is decided by them, so a head that differs from a known one in such a value alone is known
as well. Facts that make it sound to cut the value out of the bytes: the field's line is found by
its very spelling behind a CRLF, so it begins a line of the head; and a value of letters, digits and
a little punctuation is read by every parser as what it is. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.core.head import RequestHead

NAMES: Final = frozenset(
    {
        b"traceparent",  # W3C Trace Context
        b"x-request-id",  # nginx, Envoy, HAProxy, Heroku
        b"x-correlation-id",
        b"x-trace-id",
        b"x-amzn-trace-id",  # AWS load balancers
        b"x-cloud-trace-context",  # Google Cloud load balancers
        b"cf-ray",  # Cloudflare
        b"x-vercel-id",
        b"fly-request-id",
        b"x-request-start",  # Heroku, nginx by hand: a time
        b"x-b3-traceid",  # Zipkin
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"b3",
        b"sentry-trace",
        b"x-datadog-trace-id",
        b"x-datadog-parent-id",
    }
)
_SAFE: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=:;/.+@"
_MARKS_MAX: Final = 8
"""Spellings that are looked for; each costs a look through the head."""
_EXAMINED_MAX: Final = 1024
"""Spellings of any field that need no second look; the heads are of at most 4 KiB."""


class Volatile:
    """Takes the values of volatile fields out of heads; it looks for spellings that it has seen."""

    def __init__(self) -> None:
        self.marks: tuple[bytes, ...] = ()
        self._examined: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Volatile fields={len(self.marks)}>"

    def learn(self, head: RequestHead) -> None:
        """Look for the volatile fields of `head` from now on."""
        examined = self._examined
        for name, _ in head.fields:
            if name not in examined:
                self._examine(name)

    def _examine(self, name: bytes) -> None:
        if len(self._examined) >= _EXAMINED_MAX:
            self._examined.clear()
        self._examined.add(name)
        mark = b"\r\n%b: " % name
        if name.lower() in NAMES and mark not in self.marks and len(self.marks) < _MARKS_MAX:
            self.marks += (mark,)

    def cut(self, raw: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        """Return a head without the values of its volatile fields, and these, by their marks.

        A value with anything unusual in it stays, and makes the head another one.
        """
        values: dict[bytes, bytes] = {}
        for mark in self.marks:
            start = raw.find(mark) + len(mark)
            if start < len(mark):
                continue
            end = raw.find(b"\r\n", start)
            value = raw[start:end]
            if value and not value.translate(None, _SAFE):
                raw = raw[:start] + raw[end:]
                values[mark] = value
        return raw, values


def template(opening: bytes, values: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """Return `opening` in pieces: what is fixed, a mark, what is fixed, and so on.

    A mark stands before its value in what is fixed, and again where the value is to be put. Values
    that do not pass to the upstream have no place.
    """
    places = []
    for mark, value in values.items():
        line = b"%b%b\r\n" % (mark, value)
        at = opening.find(line)
        if at >= 0:
            places.append((at + len(mark), mark, len(value)))
    pieces, done = [], 0
    for at, mark, length in sorted(places):
        pieces += [opening[done:at], mark]
        done = at + length
    return (*pieces, opening[done:])


def fill(pieces: tuple[bytes, ...], values: dict[bytes, bytes]) -> bytes:
    """Return the opening that `pieces` are the template of, with `values` in their places."""
    if len(pieces) == 1:
        return pieces[0]
    filled = list(pieces)
    filled[1::2] = [values[mark] for mark in pieces[1::2]]
    return b"".join(filled)


def restore(
    fields: tuple[tuple[bytes, bytes], ...], values: dict[bytes, bytes]
) -> tuple[tuple[bytes, bytes], ...]:
    """Return `fields` with `values` in their places; each mark's spelling is there once."""
    sent = {mark[2:-2]: value for mark, value in values.items()}
    return tuple([(name, sent.get(name, value)) for name, value in fields])
