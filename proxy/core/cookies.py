"""The session cookie in a Cookie header: found, put together from its chunks, taken out.

Facts: a browser splits nothing but `;` and trims nothing but space and tab (RFC 6265 section 5.2),
so neither do we: no unquoting, no Unicode trimming, names compared byte for byte. Readers of
cookies disagree about a name that comes twice (the frameworks keep the first, aiohttp the last), so
two different values are refused. Auth.js splits a long token into `NAME.0`, `NAME.1`, ... without a
count, and joins whatever begins with NAME; we demand the indices 0 to n-1, either the base name or
chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from proxy.errors import BadCookie, SessionAmbiguous, SessionInvalid

AUTO: Final = (
    "__Secure-authjs.session-token",
    "authjs.session-token",
    "__Secure-next-auth.session-token",
    "next-auth.session-token",
)
"""The names that the frameworks use unless the app chooses its own, in the order of our search."""

CHUNKS_MAX: Final = 64
HEADER_BYTES_MAX: Final = 256 * 1024

_SECURE: Final = "__Secure-"
_BASE: Final = -1
_TOO_MANY: Final = CHUNKS_MAX

# Auth.js passes values through encodeURIComponent (a no-op for its tokens) and reads them with
# decodeURIComponent, which refuses an escape that is cut short.
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_PLAIN: Final = _PRINTABLE.replace(b"%", b"")
_NAME: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+", re.ASCII)


@dataclass(slots=True)
class Found:
    """A session's cookie: its base name and the whole token, chunks joined."""

    name: str
    token: str = field(repr=False)


class _Slot(NamedTuple):
    """Which of a session's names a cookie belongs to, and which chunk it is (_BASE: the whole)."""

    rank: int
    chunk: int


def parse(header: bytes) -> list[tuple[bytes, bytes]]:
    """Return the pairs of a Cookie header that have a `=`, nothing decoded and nothing unquoted."""
    pairs: list[tuple[bytes, bytes]] = []
    for pair in header.split(b";"):
        name, equals, value = pair.partition(b"=")
        if equals:
            pairs.append((name.strip(b" \t"), value.strip(b" \t")))
    return pairs


class CookieNames:
    """Session cookie names, compiled: which cookie belongs to which name, as base or as chunk.

    Raises ValueError for a name that no cookie can have (RFC 6265 section 4.1.1).
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        encoded = [_token(name) for name in self.names]
        self._slots: dict[bytes, _Slot] = {}
        for rank, name in enumerate(encoded):
            self._slots[name] = _Slot(rank, _BASE)
            for index in range(CHUNKS_MAX):
                self._slots.setdefault(b"%s.%d" % (name, index), _Slot(rank, index))
        self._prefixes = tuple(name + b"." for name in encoded)
        # Each name holds one of the marks, so a header without them needs no further look.
        self._marks = tuple(
            name for name in encoded if not any(o in name and o != name for o in encoded)
        )

    def slot(self, name: bytes) -> _Slot | None:
        """Return the place of the cookie called `name`, or None if it is no session cookie.

        Chunks are `NAME.0`, `NAME.1`, ...: ASCII digits without leading zeros.
        """
        slot = self._slots.get(name)
        if slot is None and name.startswith(self._prefixes):
            return self._distant_slot(name)
        return slot

    def _distant_slot(self, name: bytes) -> _Slot | None:
        for rank, prefix in enumerate(self._prefixes):
            digits = name[len(prefix) :]
            if name.startswith(prefix) and digits.isdigit() and digits[:1] != b"0":
                return _Slot(rank, _TOO_MANY)
        return None

    def spans(self, header: bytes) -> Sequence[tuple[int, int]]:
        """Return where those pairs begin and end that may be session cookies: a mark is in them.

        Searching for one mark costs the same however many cookies there are; splitting does not.
        """
        at = -1
        for mark in self._marks:
            first = header.find(mark)
            if first < 0:
                continue
            if at >= 0 or header.find(mark, first + 1) >= 0:
                return self._spans(header)
            at = first
        if at < 0:
            return ()
        end = header.find(b";", at)
        return ((header.rfind(b";", 0, at) + 1, len(header) if end < 0 else end),)

    def _spans(self, header: bytes) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        start = 0
        for pair in header.split(b";"):
            end = start + len(pair)
            if any(mark in pair for mark in self._marks):
                spans.append((start, end))
            start = end + 1
        return spans

    def __repr__(self) -> str:
        return f"CookieNames({self.names!r})"


def _token(name: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a cookie name")
    return name.encode("ascii")


class CookieFinder:
    """Looks for one session's cookie under its names; the first name that is present decides.

    A name counts as plain when its `__Secure-` twin is among the names. Any script on any subdomain
    can set a plain cookie, so the plain names do not count where a secure one is present, nor over
    https.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = CookieNames(names)
        given = self.names.names
        secure = {rank for rank, name in enumerate(given) if name.startswith(_SECURE)}
        self._secure = frozenset(secure)
        self._plain = frozenset(rank for rank, name in enumerate(given) if _SECURE + name in given)
        self._alone = {
            True: {n.encode(): n for rank, n in enumerate(given) if rank not in self._plain},
            False: {name.encode(): name for name in given},
        }

    def find(self, header: bytes, *, secure: bool) -> Found | None:
        """Return the session's cookie, or None if there is none. `secure`: the client uses https.

        Raises SessionAmbiguous (one name, different values), SessionInvalid (chunks that do not
        make one token, escapes or bytes that no token has), BadCookie (a header longer than any
        session).
        """
        spans = self.names.spans(header)
        if not spans:
            return None
        if len(header) > HEADER_BYTES_MAX:
            raise BadCookie("the Cookie header is longer than any session")
        if len(spans) == 1:
            # One whole cookie is what nearly every request has.
            start, end = spans[0]
            equals = max(header.find(b"=", start, end), start)
            name = self._alone[secure].get(header[start:equals].strip(b" \t"))
            if name is not None and (value := header[equals + 1 : end].strip(b" \t")):
                return Found(name, decode_value(value))
        return self._assemble([header[start:end] for start, end in spans], secure)

    def _assemble(self, pairs: list[bytes], secure: bool) -> Found | None:
        hits: list[tuple[_Slot, bytes]] = []
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            slot = self.names.slot(name.strip(b" \t"))
            if slot is not None and (value := value.strip(b" \t")):
                hits.append((slot, value))
        ranks = {slot.rank for slot, _ in hits}
        if secure or not ranks.isdisjoint(self._secure):
            ranks -= self._plain
        if not ranks:
            return None
        rank = min(ranks)
        values: dict[int, bytes] = {}
        for slot, value in hits:
            if slot.rank != rank:
                continue
            if slot.chunk == _TOO_MANY:
                raise SessionInvalid(f"the cookie has more than {CHUNKS_MAX} chunks")
            if values.setdefault(slot.chunk, value) != value:
                raise SessionAmbiguous("one cookie name came with different values")
        return Found(self.names.names[rank], _join(values))


def _join(values: dict[int, bytes]) -> str:
    """Return the token from its values by index. Raises SessionInvalid."""
    if _BASE in values:
        if len(values) > 1:
            raise SessionInvalid("the cookie is there whole and in chunks, one of them left over")
        return decode_value(values[_BASE])
    if len(values) != max(values) + 1:
        raise SessionInvalid("a chunk of the cookie is missing")
    return "".join(decode_value(values[index]) for index in range(len(values)))


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is None:
        raise SessionInvalid("the value holds a percent sign that escapes nothing")
    return bytes.fromhex(digits.decode())


def decode_value(value: bytes) -> str:
    """Return the value of a cookie or bearer with its escapes decoded.

    Raises SessionInvalid for escapes that are cut short, control characters and what is not ASCII.
    """
    if value.translate(None, _PLAIN):
        value = _ESCAPE.sub(_unescape, value)
        if value.translate(None, _PRINTABLE):
            raise SessionInvalid("the value holds control characters or bytes that are not ASCII")
    return value.decode("ascii")


def strip(header: bytes, names: CookieNames) -> bytes:
    """Return the Cookie header without session cookies and their chunks.

    The others stay as they are, byte for byte. Returns b"" when nothing is left, and the very same
    object when there was nothing to take out.
    """
    kept: list[bytes] = []
    after = 0
    for start, end in names.spans(header):
        name = header[start:end].partition(b"=")[0]
        if names.slot(name.strip(b" \t")) is not None:
            kept.append(header[after:start])
            after = end + 1
    if not after:
        return header
    kept.append(header[after:])
    left = b"".join(kept)
    if after > len(header):
        left = left[:-1]  # the semicolon before a cookie that was the last
    if not kept[0]:
        left = left.lstrip(b" \t")
    return left if left.strip(b" \t;") else b""
