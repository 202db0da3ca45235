"""The sessions of the cases as signed tokens: HS256 with the test secret itself, the same claims.

For proxies that verify JWTs and cannot open an encrypted one. What is about encryption, about the
cookies in which Auth.js cuts a large session, or about the key derived for each cookie has no
meaning here, and no recipe.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.hostile.tokens import (
    AUTHJS,
    SECRET,
    TOKENS,
    Kind,
    Variants,
    admin_claims,
    compact_with,
    counted_users,
    duplicate_member,
    user_claims,
    without,
)
from tests.support import mint

KEY: Final = SECRET.encode()
"""The key is the secret's bytes, as JWTs signed with a shared secret commonly have it."""

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


def sign(payload: Mapping[str, Any] | bytes, header: Mapping[str, Any] | bytes = _HEADER) -> str:
    """Return a compact JWS whose signature holds, whatever header and payload say."""
    raw = header if isinstance(header, bytes) else mint.compact_json(header)
    plain = payload if isinstance(payload, bytes) else mint.compact_json(payload)
    signed = f"{mint.b64u(raw)}.{mint.b64u(plain)}"
    return f"{signed}.{mint.b64u(hmac.digest(KEY, signed.encode(), 'sha256'))}"


_VALID: Final = sign(user_claims())


def _claim(**more: Any) -> Callable[[], str]:
    return lambda: sign(user_claims(**more))


def _literal(name: str, literal: str) -> Callable[[], str]:
    return lambda: sign(compact_with(literal, name))


def _header(raw: bytes) -> Callable[[], str]:
    return lambda: sign(user_claims(), raw)


def _non_canonical() -> str:
    """Return the valid token with the unused low bits of its last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return _VALID[:-1] + alphabet[alphabet.index(_VALID[-1]) + 1]


def _standard_alphabet() -> str:
    while True:
        token = sign(user_claims())
        signature = token.rpartition(".")[2]
        if "-" in signature and "_" in signature:
            return token.replace("-", "+").replace("_", "/")


def _surrogate(name: str) -> Callable[[], str]:
    return _literal(name, r'"\ud800x"')


_PART: Final = _VALID.split(".")

RECIPES: Final[dict[str, Variants]] = {
    "USER": {"": lambda: _VALID},
    "ADMIN": {"": lambda: sign(admin_claims())},
    "USER_SECURE": {"": lambda: sign(user_claims())},
    "NOEMAIL": {"": lambda: sign(without("email"))},
    "CLAIM_CRLF": {
        "": _claim(name="Eve\r\nX-Injected: 1\r\nX-User-Roles: admin"),
        "email": _claim(email="eve@example.test\r\nX-Injected: 1"),
        "role": _claim(roles=["user\r\nX-Injected: 1"]),
        "sub": _claim(sub="u-1\r\nX-Injected: 1"),
    },
    "SUB_OBJ": {"": _claim(sub={"a": 1}), "list": _claim(sub=["u-1"])},
    "SUB_BOOL": {"": _claim(sub=True)},
    "SUB_EMPTY": {"": _claim(sub="")},
    "SUB_NULL": {"": _claim(sub=None)},
    "SUB_MISSING": {"": lambda: sign(without("sub", "id", "email"))},
    "CLAIM_SURR": {"": _surrogate("name"), "sub": _surrogate("sub")},
    "EMAIL_MULTI": {"": _claim(email="attacker@evil.com@example.test")},
    "EMAIL_FW": {"": _claim(email="attacker@evil.com\uff20example.test")},
    "TK01": TOKENS["TK01"],
    "TK08": {"": lambda: sign(user_claims(), {**_HEADER, "crit": ["x"], "x": 1})},
    "TK13": {"": lambda: sign(user_claims(age=3600, ttl=-16))},
    "TK16": {
        "infinity": _literal("exp", "Infinity"),
        "nan": _literal("exp", "NaN"),
        "1e400": _literal("exp", "1e400"),
        "true": _literal("exp", "true"),
        "text": _literal("exp", '"9999999999"'),
    },
    "TK17": {"": lambda: sign({**user_claims(), "nbf": mint.claims()["iat"] + 3600})},
    "TK22": TOKENS["TK22"],
    "TK24": {
        "list": _header(b"[]"),
        "null": _header(b"null"),
        "text": _header(b'"HS256"'),
        "number": _header(b"1"),
    },
    "TK26": {
        "padding": lambda: f"{_VALID}=",
        "standard-alphabet": _standard_alphabet,
        "whitespace": lambda: f"{_PART[0]}.{_PART[1][:4]} {_PART[1][4:]}.{_PART[2]}",
    },
    "TK27": {"": _non_canonical},
    "TK30": {"": lambda: sign(duplicate_member())},
    **counted_users(sign),
}

SIGNED: Final = Kind(
    "hs256",
    RECIPES,
    {"signed": lambda: _VALID, "made-by-hand": lambda: sign(compact_with("0", "x"))},
    sign,
)

KINDS: Final = {kind.name: kind for kind in (AUTHJS, SIGNED)}
"""The kinds of sessions that a target may take, by name."""
