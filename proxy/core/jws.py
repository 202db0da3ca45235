"""Signed tokens: JWS in compact form (RFC 7515).

Law of the file: a token is judged by the algorithms and keys that were configured for its session,
and its header may only choose among those. `none` is no algorithm; a header that brings a key,
makes something critical or leaves the payload unencoded is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jwt.algorithms import Algorithm, get_default_algorithms

from proxy.core.encoding import b64url_decode, b64url_encode, token_header
from proxy.errors import SessionInvalid

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if name not in {"none", "ES521"}  # ES521 is PyJWT's old misspelling of ES512
}

HEADER_CHARS_MAX: Final = 4096

_REFUSED_MEMBERS: Final = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"})


@dataclass(frozen=True, slots=True)
class JwsKeys:
    """Which algorithms count, and the keys that may have signed with each, in order.

    A key is what PyJWT's algorithm of that name verifies with: bytes for HS*, else a public key.
    """

    keys: Mapping[str, Sequence[Any]] = field(repr=False)


def open_signed(token: str, keys: JwsKeys) -> bytes:
    """Return the payload of a token that one of `keys` signed. Raises SessionInvalid."""
    parts = token.split(".")
    if len(parts) != 3:
        raise SessionInvalid("a signed token has three parts")
    protected, payload, signature = parts
    algorithm = _algorithm(protected)
    if algorithm not in keys.keys:
        raise SessionInvalid("the token's alg is not among those that count")
    try:
        content, tag = b64url_decode(payload), b64url_decode(signature)
    except ValueError:
        raise SessionInvalid("a part of the token is not canonical base64url") from None
    message = f"{protected}.{payload}".encode("ascii")
    verify = ALGORITHMS[algorithm].verify
    if not any(verify(message, key, tag) for key in keys.keys[algorithm]):
        raise SessionInvalid("the signature is not by any of the keys")
    return content


def _algorithm(protected: str) -> str:
    """Return `alg` of a header that is otherwise harmless."""
    header = token_header(protected, HEADER_CHARS_MAX)
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise SessionInvalid("the token's header has members that are not allowed")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise SessionInvalid("the token has no alg")
    return algorithm


def sign(payload: bytes, algorithm: str, key: Any) -> str:
    """Return a token with `payload`. `key` is what PyJWT's algorithm of that name signs with."""
    header = json.dumps({"alg": algorithm}, separators=(",", ":"))
    message = f"{b64url_encode(header.encode())}.{b64url_encode(payload)}"
    signature = ALGORITHMS[algorithm].sign(message.encode("ascii"), key)
    return f"{message}.{b64url_encode(signature)}"
