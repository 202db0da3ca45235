"""Strict base64url and strict JSON, so that a token has one spelling and one meaning.

Law of the file: whatever two readers could take for two things is refused. A token with two
spellings would slip past a revocation of one of them; an object with a member twice says one thing
to us and another to the upstream.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from math import isfinite
from typing import Any, Final, NoReturn

from proxy.errors import SessionInvalid


def b64url_encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Return what `text` encodes. Raises ValueError unless it is the one canonical spelling.

    Padding, white space, `+`, `/`, other characters, and last characters with bits that encode
    nothing all fail: Python's decoder skips or ignores them, so the result is encoded again and
    compared.
    """
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url_encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members


def _constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_constant, parse_float=_finite
)


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `data` holds as UTF-8.

    Raises ValueError for anything else: another value, an object with a member twice at any depth,
    NaN and Infinity (also as 1e400), nesting too deep to read.
    """
    try:
        value = _DECODER.decode(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def token_header(protected: str, chars_max: int) -> dict[str, Any]:
    """Return the header of a compact token. Raises SessionInvalid unless it is a JSON object."""
    if len(protected) > chars_max:
        raise SessionInvalid("the token's header is too long")
    try:
        return json_object(b64url_decode(protected))
    except ValueError:
        raise SessionInvalid(
            "the token's header is not canonical base64url of a JSON object"
        ) from None
