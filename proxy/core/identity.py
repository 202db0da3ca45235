"""Who a session belongs to, and how the upstream is told.

A principal is read from claims that were verified before; nothing here judges a token. An identity
header's value is UTF-8 in which visible ASCII and inner spaces stand for themselves and every other
byte, and `%`, is percent-encoded, so that no claim can end a header line and every value can be
decoded without doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from proxy.config.model import PrincipalPaths
from proxy.core.claims import ClaimPath

VALUE_BYTES_MAX: Final = 8000
"""The longest value of an identity header, encoded. What refuses a head for one line does so at
8,190 bytes (Apache, gunicorn) or 8 KiB (nginx); whoever may choose their own name could otherwise
have every request of theirs refused there, and some servers just drop the connection then, which
looks like a fault of theirs.
"""
ID_CHARS_MAX: Final = 512
"""Characters of an id, which is so short that it can always be sent."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a valid token says. `kind` tells which framework's format it was (see `core/authjs.py`).

    `expires` is the unix time at which the session ends, or None if it has no end.
    """

    claims: Mapping[str, Any] = field(repr=False)
    kind: str
    expires: float | None


@dataclass(frozen=True, slots=True)
class Principal:
    """The user of a session. `id` is never empty; what the claims do not hold is None or ()."""

    id: str = field(repr=False)
    email: str | None = field(repr=False, default=None)
    name: str | None = field(repr=False, default=None)
    roles: tuple[str, ...] = field(repr=False, default=())
    claims: Mapping[str, Any] = field(repr=False, default_factory=dict)


class PrincipalReader:
    """Finds the principal in claims, by the paths of a session's `principal:`.

    Of several paths the first whose value is there and not null counts, even if that value is of no
    use: a `sub` that is an object does not make `id` the user.
    """

    def __init__(self, paths: PrincipalPaths) -> None:
        self._id = _compile(paths.id)
        self._email = _compile(paths.email)
        self._name = _compile(paths.name)
        self._roles = _compile(paths.roles)

    def read(self, claims: Mapping[str, Any]) -> Principal | None:
        """Return the principal, or None if the claims name nobody: then there is no session."""
        identity = _id_text(_first(self._id, claims))
        if not identity or len(identity) > ID_CHARS_MAX:
            return None
        return Principal(
            id=identity,
            email=_string(_first(self._email, claims)),
            name=_string(_first(self._name, claims)),
            roles=_roles(_first(self._roles, claims)),
            claims=claims,
        )


def _compile(paths: Sequence[str]) -> tuple[ClaimPath, ...]:
    return tuple(ClaimPath(path) for path in paths)


def _first(paths: tuple[ClaimPath, ...], claims: Mapping[str, Any]) -> Any:
    for path in paths:
        value = path.read(claims)
        if value is not None:
            return value
    return None


def _string(value: Any) -> str | None:
    """Return a string that is not empty. One with lone surrogates, which JSON can write and UTF-8
    cannot, is none.
    """
    if not isinstance(value, str) or not value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _number(value: Any) -> str | None:
    """Return a number's text, `7` for 7.0 as JavaScript has it; None for what is no number, or one
    without end, which a JSON column of a database may hold as 1e400.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return str(int(value))
    return str(value)


def _text(value: Any) -> str | None:
    return _string(value) if isinstance(value, str) else _number(value)


def _id_text(value: Any) -> str | None:
    if isinstance(value, float) and not value.is_integer():
        return None
    return _text(value)


def _roles(value: Any) -> tuple[str, ...]:
    """Return the roles: a list of strings and numbers, or one string; anything else is no role."""
    if isinstance(value, str):
        one = _string(value)
        return () if one is None else (one,)
    if not isinstance(value, list):
        return ()
    roles: list[str] = []
    for item in value:
        if item == "":
            continue
        text = _text(item)
        if text is None:
            return ()
        roles.append(text)
    return tuple(roles)


# Leading and trailing spaces are encoded because every HTTP parser cuts them off (RFC 9110 section
# 5.5).
_ESCAPED: Final = re.compile(rb"[^\x20-\x24\x26-\x7e]|\A +| +\Z")
_ESCAPED_IN_LIST: Final = re.compile(rb"[^\x20-\x24\x26-\x2b\x2d-\x7e]|\A +| +\Z")


def _percent(match: re.Match[bytes]) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in match[0])


def encode_value(value: Any) -> bytes | None:
    """Return a claim as a header value, or None if it is not sent.

    Sent are strings, numbers and lists of those, joined by "," with the commas inside an element
    encoded. Not sent are booleans, objects, null, what is empty, text that UTF-8 cannot hold, and
    what is longer than VALUE_BYTES_MAX: a part of it would be another value.
    """
    encoded = _encode(value)
    return encoded if encoded is not None and len(encoded) <= VALUE_BYTES_MAX else None


def _encode(value: Any) -> bytes | None:
    if isinstance(value, (list, tuple)):
        elements: list[bytes] = []
        for item in value:
            text = "" if item == "" else _text(item)
            if text is None:
                return None
            elements.append(_ESCAPED_IN_LIST.sub(_percent, text.encode()))
        return b",".join(elements) or None
    text = _text(value)
    if text is None:
        return None
    if text.isascii() and text.isprintable() and "%" not in text and text.strip(" ") == text:
        return text.encode()
    return _ESCAPED.sub(_percent, text.encode())


def fold_name(name: bytes) -> bytes:
    """Return a header's name in lower case, letters and digits only: `xuserid` for `X_User-Id`.

    CGI, WSGI and several frameworks take names for equal that differ only in what this drops.
    """
    return name.translate(_FOLD, _DROPPED)


_FOLD: Final = bytes(range(256)).lower()
_DROPPED: Final = bytes(
    byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum()
)

_FIELDS: Final[dict[str, Callable[[Principal], Any]]] = {
    "id": lambda principal: principal.id,
    "email": lambda principal: principal.email,
    "name": lambda principal: principal.name,
    "roles": lambda principal: principal.roles,
}


def _source(text: str) -> Callable[[Principal], Any]:
    if text in _FIELDS:
        return _FIELDS[text]
    prefix, _, path = text.partition(".")
    if prefix != "claims" or not path:
        raise ValueError(f"{text!r} is none of id, email, name, roles, claims.PATH")
    claim = ClaimPath(path)
    return lambda principal: claim.read(principal.claims)


class IdentityHeaders:
    """The headers that tell an upstream who is asking.

    Made from name -> `id`, `email`, `name`, `roles` or `claims.PATH`. Raises ValueError for another
    source.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.names = frozenset(fold_name(name.encode("ascii")) for name in headers)
        """The names that clients must not send, folded by `fold_name`."""
        self._lines = tuple(
            (name.encode("ascii") + b": ", _source(source)) for name, source in headers.items()
        )

    def lines(self, principal: Principal) -> bytes:
        """Return the lines, each ending CRLF; what the principal does not have makes none."""
        lines: list[bytes] = []
        for start, source in self._lines:
            value = encode_value(source(principal))
            if value is not None:
                lines += (start, value, b"\r\n")
        return b"".join(lines)

    def __repr__(self) -> str:
        return f"<IdentityHeaders {len(self._lines)} names>"
