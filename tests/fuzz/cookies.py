"""The session cookie in a Cookie header, against a slow reading of RFC 6265 and the frameworks'
rules for chunks (Auth.js, packages/core/src/lib/utils/cookie.ts) that knows nothing of ours.

Input: a byte that chooses the configured names and the scheme, then the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from proxy.core.cookies import AUTO, CookieFinder, CookieNames, parse, strip
from proxy.errors import BadCookie, SessionAmbiguous, SessionInvalid
from tests.fuzz import seeds as sources
from tests.fuzz.finding import require

NAMES: Final = (AUTO, ("sid",), ("__Host-sid",), ("a", "a.0", "__Secure-a"))
_FINDERS: Final = tuple(CookieFinder(names) for names in NAMES)
_CHUNKS_MAX: Final = 64

NOTHING: Final = "nothing"
AMBIGUOUS: Final = "ambiguous"
INVALID: Final = "invalid"

HEAD_BYTES: Final = 1
WORDS: Final = (
    *(b";", b"; ", b"=", b" ", b"\t", b'"', b",", b"%", b"%41", b"%00", b"%zz", b"\xff", b"\x00"),
    *(b".0=", b".1=", b".2=", b".10=", b".63=", b".64=", b".00=", b".x=", b"-old=", b"=T", b"=U"),
    *(name.encode() for names in NAMES for name in names),
    *(b"__Secure-", b"__Host-", b"; sid=T", b"a=1", b"; authjs.session-token=T", b"\r\n", b"\\"),
)


def seeds() -> Iterable[bytes]:
    """Begin with the headers of attack cases and vectors, and with chunks in every disorder."""
    plain = [b"a=1", b"sid=T", b"sid.0=A; sid.1=B", b"sid.1=B; sid.0=A", b"sid=; sid=T", b"sid=T;"]
    chunks = [b"; ".join(b"sid.%d=%d" % (n, n) for n in range(count)) for count in (11, 64, 65)]
    for choice in range(len(NAMES) * 2):
        for header in (*plain, *chunks, *sources.cookies()):
            yield bytes([choice]) + header


def parts(data: bytes) -> tuple[int, bool, bytes]:
    """Return which names are configured, whether the client uses https, and the header."""
    choice = data[0] if data else 0
    return choice // 2 % len(NAMES), bool(choice % 2), data[1:]


def slow_pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    """RFC 6265 section 5.4 backwards, character by character: what a server is sent."""
    pairs: list[tuple[bytes, bytes]] = []
    name, value, equals = b"", b"", False
    for character in [*(header[i : i + 1] for i in range(len(header))), b";"]:
        if character == b";":
            if equals:
                pairs.append((_trim(name), _trim(value)))
            name, value, equals = b"", b"", False
        elif character == b"=" and not equals:
            equals = True
        elif equals:
            value += character
        else:
            name += character
    return pairs


def _trim(text: bytes) -> bytes:
    while text[:1] in (b" ", b"\t"):
        text = text[1:]
    while text[-1:] in (b" ", b"\t"):
        text = text[:-1]
    return text


def chunk_of(name: bytes, base: str) -> int | None:
    """Return which chunk of `base` a cookie is, -1 for the whole; None if it is another cookie."""
    match = re.fullmatch(rb"%b(?:\.(0|[1-9][0-9]*))?" % re.escape(base.encode()), name)
    if match is None:
        return None
    return -1 if match[1] is None else int(match[1][:9])


def slow_find(header: bytes, names: tuple[str, ...], *, secure: bool) -> tuple[str, str] | str:
    """Return the session's base name and token, or what keeps the header from having one."""
    pairs = [(name, value) for name, value in slow_pairs(header) if value]
    there: dict[str, list[tuple[int, bytes]]] = {}
    for name, value in pairs:
        base = owner(name, names)
        chunk = None if base is None else chunk_of(name, base)
        if base is not None and chunk is not None:
            there.setdefault(base, []).append((chunk, value))
    any_secure = any(base.startswith("__Secure-") for base in there)
    for base in names:
        is_plain = f"__Secure-{base}" in names
        if base in there and not (is_plain and (secure or any_secure)):
            return _joined(base, there[base])
    return NOTHING


def owner(name: bytes, names: tuple[str, ...]) -> str | None:
    """Return the configured name that a cookie belongs to. A name as it is wins over a chunk."""
    whole = [base for base in names if chunk_of(name, base) == -1]
    chunks = [base for base in names if chunk_of(name, base) is not None]
    return next(iter(whole + chunks), None)


def _joined(base: str, chunks: list[tuple[int, bytes]]) -> tuple[str, str] | str:
    """Return the token of these chunks, which may have come several times."""
    values: dict[int, set[bytes]] = {}
    for chunk, value in chunks:
        values.setdefault(chunk, set()).add(value)
    wrong = []
    if any(len(each) > 1 for each in values.values()):
        wrong.append(AMBIGUOUS)
    if -1 in values and len(values) > 1:
        wrong.append(INVALID)
    if -1 not in values and sorted(values) != list(range(len(values))):
        wrong.append(INVALID)
    if max(values) >= _CHUNKS_MAX:
        wrong.append(INVALID)
    texts = [decoded(min(values[chunk])) for chunk in sorted(values)]
    if not wrong and None not in texts:
        return base, "".join(text for text in texts if text is not None)
    return AMBIGUOUS if AMBIGUOUS in wrong and INVALID not in wrong else INVALID


def decoded(value: bytes) -> str | None:
    """decodeURIComponent for tokens: what is not printable ASCII is none."""
    text, at = "", 0
    while at < len(value):
        code = value[at]
        if code == ord("%"):
            digits = value[at + 1 : at + 3]
            if not re.fullmatch(rb"[0-9A-Fa-f]{2}", digits):
                return None
            code, at = int(digits, 16), at + 2
        if not 0x20 <= code < 0x7F:
            return None
        text, at = text + chr(code), at + 1
    return text


def _found(finder: CookieFinder, header: bytes, *, secure: bool) -> tuple[str, str] | str:
    try:
        found = finder.find(header, secure=secure)
    except SessionAmbiguous:
        return AMBIGUOUS
    except (SessionInvalid, BadCookie):
        return INVALID
    return NOTHING if found is None else (found.name, found.token)


def check(data: bytes) -> None:
    """Judge one input. Raises Finding."""
    which, secure, header = parts(data)
    names, finder = NAMES[which], _FINDERS[which]
    require(parse(header) == slow_pairs(header), "the pairs are others")
    ours, slow = _found(finder, header, secure=secure), slow_find(header, names, secure=secure)
    # Two faults at once: either is a refusal.
    both = {AMBIGUOUS, INVALID}
    require(ours == slow or {str(ours), str(slow)} == both, f"we find {ours!r}, slowly {slow!r}")
    _check_strip(header, names, finder.names)


def _check_strip(header: bytes, names: tuple[str, ...], compiled: CookieNames) -> None:
    """What goes upstream: the other cookies, in their order, with their bytes."""
    left = strip(header, compiled)
    kept = [
        pair for pair in header.split(b";") if owner(_trim(pair.partition(b"=")[0]), names) is None
    ]
    if len(kept) == len(header.split(b";")):
        require(left == header, "a header without a session was changed")
    elif b"".join(kept).strip(b" \t"):
        require(left.lstrip(b" \t") == b";".join(kept).lstrip(b" \t"), "other cookies were changed")
    else:
        require(left == b"", "of nothing something is left")
    require(_names_of(left, names) == [], "a session cookie goes upstream")


def _names_of(header: bytes, names: tuple[str, ...]) -> list[bytes]:
    return [name for name, _ in slow_pairs(header) if owner(name, names) is not None]


def describe(data: bytes) -> str:
    """Return an input for people."""
    which, secure, header = parts(data)
    return f"Cookie: {header!r} for {NAMES[which]}, over {'https' if secure else 'http'}"
