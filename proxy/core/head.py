"""The head of a request: what the client sent before the body, noted once, never changed.

Facts about fields: names are compared without case (RFC 9110 section 5.1). A field that is a list
may come in several lines, which mean the same as one line joined by ", " (section 5.3); `Cookie`
lines are joined by "; " (RFC 6265 section 5.4). A field that is not a list and comes twice has no
meaning: two readers may choose differently, so whoever asks for it gets a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proxy.errors import BadRequest

_LISTS: Final = {
    b"accept": b", ",
    b"access-control-request-headers": b", ",
    b"connection": b", ",
    b"cookie": b"; ",
    b"forwarded": b", ",
    b"upgrade": b", ",
    b"x-forwarded-for": b", ",
}
_SINGLES: Final = frozenset(
    {
        b"access-control-request-method",
        b"access-control-request-private-network",
        b"authorization",
        b"content-length",
        b"expect",
        b"host",
        b"origin",
        b"referer",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"traceparent",
        b"transfer-encoding",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-request-id",
        b"x-requested-with",
    }
)

# Spelling -> lower-case name when a decision looks at the field, else b"". Clients use a handful
# of spellings; one that invents names must not grow this for ever, so it is emptied when full.
_SPELLINGS: dict[bytes, bytes] = {}
_SPELLINGS_MAX: Final = 4096
_SPELLING_BYTES_MAX: Final = 64
"""Bytes of a spelling that is remembered: names are the client's, and may be as long as a head."""


def _noted_name(spelling: bytes) -> bytes:
    lower = spelling.lower()
    name = lower if lower in _LISTS or lower in _SINGLES else b""
    if len(_SPELLINGS) >= _SPELLINGS_MAX:
        _SPELLINGS.clear()
    if len(spelling) <= _SPELLING_BYTES_MAX:
        _SPELLINGS[spelling] = name
    return name


@dataclass(slots=True)
class RequestHead:
    """Method, target and fields as sent, and who sent them.

    `target` is the request line's, decoded with surrogateescape; `minor` is y of HTTP/1.y. `peer`
    is the address that the connection comes from ("unix" for a unix socket), `tls` whether it is
    ours by TLS. `raw` is the head as it was sent, where it came alone and in one piece, else b"".
    `size` is the head's size in bytes.
    """

    method: str
    target: str
    minor: int
    fields: tuple[tuple[bytes, bytes], ...]
    peer: str
    tls: bool = False
    raw: bytes = field(repr=False, default=b"")
    noted: dict[bytes, bytes] = field(init=False, repr=False)
    repeated: set[bytes] | None = field(init=False, repr=False, default=None)
    size: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        noted: dict[bytes, bytes] = {}
        known = _SPELLINGS.get
        size = len(self.target)
        for spelling, value in self.fields:
            size += len(spelling) + len(value) + 4
            name = known(spelling)
            if name is None:
                name = _noted_name(spelling)
            if not name:
                continue
            if name not in noted:
                noted[name] = value
            else:
                self._note_again(noted, name, value)
        self.noted = noted
        self.size = size

    def _note_again(self, noted: dict[bytes, bytes], name: bytes, value: bytes) -> None:
        joint = _LISTS.get(name)
        if joint is not None:
            noted[name] += joint + value
            return
        if self.repeated is None:
            self.repeated = set()
        self.repeated.add(name)

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the field `name` (lower case), joined if it is a list.

        Raises BadRequest when a field that is not a list came more than once.
        """
        if self.repeated is not None and name in self.repeated:
            raise BadRequest(f"header {name.decode()} came more than once")
        return self.noted.get(name)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} minor={self.minor} fields={len(self.fields)}>"
