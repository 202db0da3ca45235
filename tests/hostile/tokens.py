"""What stands for the placeholders of the attack cases: tokens, minted by recipe when needed.

A recipe that names several shapes ("Infinity / NaN / 1e400 / true") has several variants here, and
its case runs with each of them.
"""

from __future__ import annotations

import functools
import gzip
import os
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.hostile.cases import Resolve
from tests.support import mint

SECRET: Final = "TEST_SECRET"
OTHER_SECRET: Final = "TEST_SECRET_OF_ANOTHER_TENANT"

PEER: Final = "127.0.0.1"

Variants = dict[str, Callable[[], str]]
"""Label of the variant -> its token. The label of an only variant is empty."""

_KEY: Final = mint.v5_key(SECRET)
_GCM_KEY: Final = mint.v5_key(SECRET, length=32)
_CBC_HEADER: Final = {"alg": "dir", "enc": "A256CBC-HS512", "kid": mint.thumbprint(_KEY)}

# The recipe of TK-07 says 200 MB, whose deflated form is larger than any request head may be; these
# 16 MiB make a token of 22 kB. The payload is valid JSON, so that whoever inflates it lets the
# request pass.
_BOMB_BYTES: Final = 16 << 20
# 10 GB of zeros in 10 MB of gzip: members of 1 MiB each (RFC 1952 section 2.2), just below the
# body limit.
_GZIP_MEMBERS: Final = 9_900


def user_claims(**more: Any) -> dict[str, Any]:
    """Return what a session of u-1 says, with some claims in place of its own."""
    return mint.claims(**{"sub": "u-1", "email": "u1@example.test", "roles": ["user"], **more})


def admin_claims() -> dict[str, Any]:
    """Return what a session of a-1 says."""
    return mint.claims("a-1", email="a1@example.test", roles=["admin"])


def without(*names: str) -> dict[str, Any]:
    """Return what a session of u-1 says, but for some claims."""
    return {name: value for name, value in user_claims().items() if name not in names}


@functools.cache
def _valid() -> str:
    """A session of u-1 that most recipes damage."""
    return mint.v5(user_claims(), SECRET)


def _parts(**changed: str) -> str:
    """Return the valid token with parts replaced, by name."""
    names = ("header", "key", "iv", "ciphertext", "tag")
    parts = dict(zip(names, _valid().split("."), strict=True))
    return ".".join({**parts, **changed}.values())


def _part(index: int) -> str:
    return _valid().split(".")[index]


def compact_with(literal: str, name: str) -> bytes:
    """Return the user's claims with the member `name` as this JSON text, valid or not."""
    payload = mint.compact_json({**user_claims(), name: "PLACE"})
    return payload.replace(b'"PLACE"', literal.encode())


def _sealed(payload: bytes) -> str:
    return mint.seal(_CBC_HEADER, payload, _KEY)


def _sub(value: Any) -> Callable[[], str]:
    return lambda: mint.v5(user_claims(sub=value), SECRET)


def _exp(literal: str) -> Callable[[], str]:
    return lambda: _sealed(compact_with(literal, "exp"))


def _claim(**more: Any) -> Callable[[], str]:
    return lambda: mint.v5(user_claims(**more), SECRET)


def _header(raw: bytes) -> Callable[[], str]:
    return lambda: mint.seal(raw, user_claims(), _KEY)


def _surrogate(name: str) -> Callable[[], str]:
    return lambda: _sealed(compact_with(r'"\ud800x"', name))


def _in_standard_alphabet() -> str:
    """Return a valid token with - and _ written as + and /, at least one of each."""
    while True:
        token = mint.v5(user_claims(), SECRET)
        if "-" in token and "_" in token:
            return token.replace("-", "+").replace("_", "/")


def _non_canonical_tag() -> str:
    """Return the valid token with the unused low bits of its last character set.

    32 bytes are 42 characters of 6 bits and one of 4; the alphabet's next character decodes to the
    same bytes.
    """
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    tag = _part(4)
    return _parts(tag=tag[:-1] + alphabet[alphabet.index(tag[-1]) + 1])


def duplicate_member() -> bytes:
    """Return the user's claims as JSON with `sub` twice."""
    return b'{"sub":"u-1","sub":"admin",' + mint.compact_json(without("sub"))[1:]


_RUN: Final = os.urandom(4).hex()
"""Part of the ids of users whose requests are counted, so that no run finds another's counts."""


def counted_users(session: Callable[[Mapping[str, Any]], str]) -> dict[str, Variants]:
    """Return the sessions of the cases about rate limits: name -> session of whom."""
    users = {
        "RL02": "2",
        "RL03A": "3a",
        "RL03B": "3b",
        **dict.fromkeys(("RL04A", "RL04B", "RL04C"), "4"),
        "RL05": "5",
    }
    return {name: {"": _once(session, f"u-{_RUN}-{user}")} for name, user in users.items()}


def _once(session: Callable[[Mapping[str, Any]], str], user: str) -> Callable[[], str]:
    return functools.cache(lambda: session(user_claims(sub=user)))


@functools.cache
def _big() -> list[str]:
    """Pieces of a session too large for one cookie."""
    token = mint.v5(user_claims(picture="p" * 4000), SECRET)
    return [token[: mint.CHUNK], token[mint.CHUNK :]]


def _shuffled_chunks() -> str:
    """Return the cookies of a session in 12 chunks, in an order that is not theirs."""
    token = mint.v5(user_claims(picture="p" * 34_000), SECRET)
    chunks = mint.chunk_cookies(token)
    assert len(chunks) == 12
    random.Random(12).shuffle(chunks)
    return "; ".join(chunks)


@functools.cache
def gzip_bomb() -> bytes:
    """Return gzip that is a thousand times larger when inflated."""
    return gzip.compress(bytes(1 << 20), mtime=0) * _GZIP_MEMBERS


PBES2_HEADER: Final = {
    "alg": "PBES2-HS512+A256KW",
    "p2c": 2147483647,
    "p2s": "AA",
    "enc": "A256GCM",
}

TOKENS: Final[dict[str, Variants]] = {
    "USER": {"": _valid},
    "ADMIN": {"": functools.cache(lambda: mint.v5(admin_claims(), SECRET))},
    "USER_SECURE": {"": lambda: mint.v5(user_claims(), SECRET, cookie=mint.V5_SECURE_COOKIE)},
    "USER_V4": {"": lambda: mint.v4(user_claims(), SECRET)},
    "NOEMAIL": {"": lambda: mint.v5(without("email"), SECRET)},
    "CLAIM_CRLF": {
        "": _claim(name="Eve\r\nX-Injected: 1\r\nX-User-Roles: admin"),
        "email": _claim(email="eve@example.test\r\nX-Injected: 1"),
        "role": _claim(roles=["user\r\nX-Injected: 1"]),
        "sub": _claim(sub="u-1\r\nX-Injected: 1"),
    },
    "SUB_OBJ": {"": _sub({"a": 1}), "list": _sub(["u-1"])},
    "SUB_BOOL": {"": _sub(True)},
    "SUB_EMPTY": {"": _sub("")},
    "SUB_NULL": {"": _sub(None)},
    "SUB_MISSING": {"": lambda: mint.v5(without("sub", "id", "email"), SECRET)},
    "CLAIM_SURR": {"": _surrogate("name"), "sub": _surrogate("sub")},
    "EMAIL_MULTI": {"": _claim(email="attacker@evil.com@example.test")},
    "EMAIL_FW": {"": _claim(email="attacker@evil.com\uff20example.test")},
    "BIG.0": {"": lambda: _big()[0]},
    "BIG.1": {"": lambda: _big()[1]},
    "HUGE_CHUNKS_SHUFFLED": {"": _shuffled_chunks},
    "TK01": {"": lambda: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."},
    "TK03": {"": lambda: _parts(key="AAAA")},
    "TK04": {"": lambda: mint.seal({**_CBC_HEADER, "alg": "A256KW"}, user_claims(), _KEY)},
    "TK05": {
        "": lambda: mint.seal(PBES2_HEADER, user_claims(), _GCM_KEY, encrypted_key=bytes(40)),
    },
    "TK07": {
        "": lambda: mint.v5(user_claims(pad="u" * _BOMB_BYTES), SECRET, header={"zip": "DEF"})
    },
    "TK08": {"": lambda: mint.seal({**_CBC_HEADER, "crit": ["x"], "x": 1}, user_claims(), _KEY)},
    "TK10": {
        "cbc-12-bytes": lambda: mint.seal(_CBC_HEADER, user_claims(), _KEY, iv=bytes(12)),
        "gcm-16-bytes": lambda: mint.seal(
            {"alg": "dir", "enc": "A256GCM"}, user_claims(), _GCM_KEY, iv=bytes(16)
        ),
    },
    "TK13": {"": lambda: mint.v5(user_claims(age=3600, ttl=-16), SECRET)},
    "TK16": {
        "infinity": _exp("Infinity"),
        "nan": _exp("NaN"),
        "1e400": _exp("1e400"),
        "true": _exp("true"),
        "text": _exp('"9999999999"'),
    },
    "TK17": {"": lambda: mint.v5({**user_claims(), "nbf": mint.claims()["iat"] + 3600}, SECRET)},
    "TK18": {
        # The value of next-auth.state under its own salt, and its payload under the session's key.
        "state-cookie": lambda: mint.v4(_state(), SECRET, salt="next-auth.state"),
        "session-key": lambda: mint.v4(_state(), SECRET),
    },
    "TK22": {"": lambda: "." * 7000},
    "TK24": {
        "list": _header(b"[]"),
        "null": _header(b"null"),
        "text": _header(b'"dir"'),
        "number": _header(b"1"),
    },
    "TK26": {
        "padding": lambda: _parts(iv=_part(2) + "="),
        "standard-alphabet": _in_standard_alphabet,
        "whitespace": lambda: _parts(iv=_part(2)[:4] + " " + _part(2)[4:]),
    },
    "TK27": {"": _non_canonical_tag},
    "TK28": {"": lambda: mint.v5(user_claims(), SECRET, cookie=mint.V5_SECURE_COOKIE)},
    "DB_VALID": {"": lambda: "stored-session-of-ada"},
    "DB_VALID_UPPER": {
        "": lambda: "STORED-SESSION-OF-ADA",
        "space": lambda: "stored-session-of-ada%20",
    },
    "DB_ORPHAN": {"": lambda: "stored-session-of-nobody"},
    "DB_DELETED": {"": lambda: "stored-session-that-goes"},
    "TK30": {"": lambda: _sealed(duplicate_member())},
    **counted_users(lambda claims: mint.v5(claims, SECRET)),
}

CONTROLS: Final[dict[str, Callable[[], str]]] = {
    "minted": _valid,
    "sealed-cbc": lambda: mint.seal(_CBC_HEADER, user_claims(), _KEY),
    "sealed-gcm": lambda: mint.seal({"alg": "dir", "enc": "A256GCM"}, user_claims(), _GCM_KEY),
}
"""The same tokens undamaged. A gateway that refuses these refuses the others for no good reason."""


def _state() -> dict[str, Any]:
    now = mint.claims()["iat"]
    return {"state": "x", "iat": now, "exp": now + 900, "jti": "state"}


SENT: Final[set[str]] = set()
"""Every token that has stood for a placeholder: none of them belongs in a log."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sessions: what stands for each placeholder, and how claims become a session.

    A case with a placeholder that a kind has no recipe for has no meaning there.
    """

    name: str
    recipes: Mapping[str, Variants]
    controls: Mapping[str, Callable[[], str]]
    session: Callable[[Mapping[str, Any]], str]


AUTHJS: Final = Kind("authjs", TOKENS, CONTROLS, lambda claims: mint.v5(claims, SECRET))
"""Encrypted tokens of Auth.js v5, and of NextAuth v4 where a profile says so."""

_NOT_TOKENS: Final = re.compile(r"(REPEAT|CHUNKS):|(GZIP_BOMB|PEER)$")


def resolver(variant: str = "", kind: Kind = AUTHJS, peer: str = PEER) -> Resolve:
    """Return what a placeholder's name stands for. KeyError for a name without a recipe.

    `peer` is the address that the gateway sees.
    """

    def resolve(name: str) -> bytes:
        if name == "GZIP_BOMB":
            return gzip_bomb()
        if name == "PEER":
            return peer.encode()
        variants = kind.recipes[name]
        token = variants[variant if variant in variants else ""]()
        SENT.add(token)
        return token.encode()

    return resolve


def tokens_of(placeholders: set[str]) -> set[str]:
    """Return those placeholders that stand for tokens."""
    inner = {name.removeprefix("LEN:") for name in placeholders}
    return {name for name in inner if not _NOT_TOKENS.match(name)}


def variants_of(placeholders: set[str], kind: Kind = AUTHJS) -> list[str]:
    """Return the labels with which a case that uses these placeholders runs."""
    several = [kind.recipes[n] for n in placeholders if len(kind.recipes.get(n, {})) > 1]
    return sorted({label for variants in several for label in variants}) or [""]
