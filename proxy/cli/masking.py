"""A head that may be shown: as it goes upstream, but without the tokens in it."""

from __future__ import annotations

from typing import Final

from proxy.core.cookies import CookieNames

HIDDEN: Final = b"(hidden)"


def masked(head: bytes, session_cookies: CookieNames) -> list[str]:
    """Return the lines of a head, the values of session cookies and of Authorization hidden."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return [_mask(line, session_cookies).decode(errors="backslashreplace") for line in lines]


def _mask(line: bytes, session_cookies: CookieNames) -> bytes:
    name, colon, value = line.partition(b": ")
    lower = name.lower()
    if lower == b"authorization":
        scheme, space, _ = value.partition(b" ")
        return name + colon + (scheme + space if space else b"") + HIDDEN
    if lower != b"cookie":
        return line
    pairs = [_mask_pair(pair, session_cookies) for pair in value.split(b";")]
    return name + colon + b";".join(pairs)


def _mask_pair(pair: bytes, session_cookies: CookieNames) -> bytes:
    name, equals, _ = pair.partition(b"=")
    if session_cookies.slot(name.strip(b" \t")) is None:
        return pair
    return name + equals + HIDDEN
