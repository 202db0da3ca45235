"""Session tokens. Whoever has no key makes no valid token of another's; and whatever the holder of
the key wrote, all that comes of it is claims that are what was written, or a typed refusal.

Input: a kind, a number, and bytes. By kind:

- forge: edits of the token of vector NUMBER, as an attacker makes them who has seen all vectors.
- payload: the bytes, sealed with the right key, as the payload of a token.
- header: the bytes, as the header of a token whose tag is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic import SecretStr

from proxy.config.model import JwtOptions, PrincipalPaths, SessionConfig
from proxy.core.authjs import AuthjsVerifier
from proxy.core.head import RequestHead
from proxy.core.identity import IdentityHeaders, PrincipalReader, Verified
from proxy.core.session import SessionRule
from proxy.errors import SessionExpired, SessionInvalid, Unauthorized
from tests.fuzz import seeds as sources
from tests.fuzz.finding import Finding, require
from tests.fuzz.strict import FIELD
from tests.support import mint

FORGE: Final = 0
PAYLOAD: Final = 1
HEADER: Final = 2
_KINDS: Final = 3
HEAD_BYTES: Final = 2

SECRET: Final = "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"
NOW: Final = 1_800_000_000.0
TOLERANCE: Final = 15.0
_OPTIONS: Final = {
    "signingKey": "signing_key",
    "verificationKey": "verification_key",
    "encryptionKey": "encryption_key",
    "encryption": "encryption",
}

WORDS: Final = (
    *(b".", b"..", b"=", b"-", b"_", b"+", b"/", b"A", b"AA", b"%2e", b" ", b"\x00", b"\xff"),
    *(b'{"', b'"}', b'":', b'","', b"{", b"}", b"[", b"]", b"null", b"true", b"1e400", b"NaN"),
    *(b'"sub":', b'"exp":', b'"iat":', b'"nbf":', b'"roles":', b'"role":', b'"email":', b'"name":'),
    *(b'"alg":"dir"', b'"alg":"none"', b'"alg":"HS256"', b'"enc":"A256GCM"', b'"zip":"DEF"'),
    *(b'"enc":"A256CBC-HS512"', b'"crit":["exp"]', b'"kid":', b'"jwk":{}', b'"typ":"JWT"'),
    *(b"1800000000", b"9007199254740993", b"-1", b"0.5", b"\\ud800", b"\\u0000", b"\\r\\n"),
    *(b'\\"', b"\xc3\xa9", b"\xe2\x80\xa8", b"eyJhbGciOiJub25lIn0", b"[[[[[[[[", b'{"a":' * 8),
)


@dataclass(frozen=True, slots=True)
class Vector:
    """A framework's token, the session that it is for, and what it claims where it is valid."""

    name: str
    rule: SessionRule
    token: str
    cookie: str
    at: float
    claims: Mapping[str, Any] | None


def _rule(vector: dict[str, Any]) -> SessionRule:
    given = vector.get("jwt_options", {})
    checks = given.get("verificationOptions", {})
    algorithms = vector.get("algorithms", checks.get("algorithms", []))
    options = {_OPTIONS[name]: value for name, value in given.items() if name in _OPTIONS}
    if algorithms:
        options["algorithms"] = algorithms
    config = SessionConfig(
        secret=vector["secrets"],
        cookie=vector["cookie_name"],
        jwt=JwtOptions(**options) if options else None,
        allow_weak_secret=True,
    )
    return SessionRule.compile("web", config)


@cache
def vectors() -> tuple[Vector, ...]:
    """Return the frameworks' tokens that are found in their Cookie header."""
    found = []
    for vector in sources.vectors():
        rule, at = _rule(vector), float(vector["verify_at"])
        cookie = (b"Cookie", vector["cookie_header"].encode())
        head = RequestHead("GET", "/", 1, (cookie,), "127.0.0.1")
        try:
            credential = rule.find(head, secure=True)
        except Unauthorized:
            continue
        if credential is None:
            continue
        verified = _verify(rule.verifier, credential.token, credential.name, at)
        claims = None if verified is None else verified.claims
        found.append(Vector(vector["id"], rule, credential.token, credential.name, at, claims))
    return tuple(found)


def _verify(verifier: AuthjsVerifier, token: str, cookie: str, at: float) -> Verified | None:
    """Return what a token claims, None where it is refused as it should be."""
    try:
        return verifier.verify(token, cookie, at)
    except (SessionInvalid, SessionExpired) as refusal:
        require(bool(refusal.reason) or isinstance(refusal, SessionExpired), "no reason is given")
        return None


def seeds() -> Iterable[bytes]:
    """Begin with all vectors as they are, and with payloads and headers of every kind."""
    for number in range(len(vectors())):
        yield bytes([FORGE, number])
        yield bytes([FORGE, number]) + bytes([1, 0, 30, 65, 3, 1, 9, 9, 5, 0, 2, 7])
    payloads: tuple[dict[str, Any], ...] = (
        {"sub": "u-1", "exp": int(NOW) + 60},
        {"sub": "u-1", "exp": int(NOW) - 60},
        {"sub": 7, "exp": int(NOW) + 0.5, "iat": int(NOW), "nbf": int(NOW)},
        {"id": "u\r\nX: y", "exp": 2**53, "roles": ["a,b", 7, None, ["x"]], "role": "é"},
        {"sub": {"a": 1}, "exp": True, "email": ["x"], "name": "\ud800"},
    )
    for payload in payloads:
        for cipher in range(2):
            yield bytes([PAYLOAD, cipher]) + mint.compact_json(payload)
    for header in ({"alg": "dir", "enc": "A256GCM"}, {"alg": "dir", "enc": "A256CBC-HS512"}):
        for more in ({}, {"zip": "DEF"}, {"kid": "x"}, {"crit": ["exp"]}, {"typ": 1}):
            for cipher in range(2):
                yield bytes([HEADER, cipher]) + mint.compact_json({**header, **more})


def check(data: bytes) -> None:
    """Judge one input. Raises Finding."""
    kind, number, rest = (data[0] % _KINDS if data else 0), (data[1:2] or b"\0")[0], data[2:]
    if kind == FORGE:
        _check_forged(vectors()[number % len(vectors())], rest)
    elif kind == PAYLOAD:
        _check_payload(rest, number % 2)
    else:
        _check_header(rest, number % 2)


def forged(vector: Vector, edits: bytes) -> str:
    """Return the token after edits of four bytes each: what is done, where (two bytes), with what.

    Parts may be those of any other vector's token, so that all that was ever seen can be combined.
    """
    token = vector.token
    for at in range(0, len(edits) - 3, 4):
        what, place, argument = edits[at] % 8, edits[at + 1] << 8 | edits[at + 2], edits[at + 3]
        token = _edited(token, what, place, argument)
    return token


def _edited(token: str, what: int, place: int, argument: int) -> str:
    at = place % (len(token) + 1)
    character = chr(argument)
    if what == 0:
        return token[:at] + character + token[at + 1 :]
    if what == 1:
        return token[:at] + character + token[at:]
    if what == 2:
        return token[:at] + token[at + argument :]
    pieces = token.split(".")
    part = place % len(pieces)
    if what == 3:
        others = vectors()[argument % len(vectors())].token.split(".")
        pieces[part] = others[part % len(others)]
    elif what == 4:
        pieces[part] = pieces[part][: argument % (len(pieces[part]) + 1)]
    elif what == 5:
        pieces.insert(part, "")
    elif what == 6:
        pieces[part] += "=" * (argument % 4)
    else:
        del pieces[part]
    return ".".join(pieces)


def _check_forged(vector: Vector, edits: bytes) -> None:
    token = forged(vector, edits)
    verified = _verify(vector.rule.verifier, token, vector.cookie, vector.at)
    if verified is None:
        require(token != vector.token or vector.claims is None, "the token itself is refused")
        return
    known = [v.claims for v in vectors() if v.token == token and v.claims is not None]
    if not known:
        # Of another vector's secret or time, it may be valid here; but it was made by a framework.
        known = [verified.claims] if any(v.token == token for v in vectors()) else []
    require(verified.claims in known, f"a token that nobody made is valid: {token!r}")


@cache
def _sealer() -> tuple[SessionRule, IdentityHeaders, PrincipalReader]:
    rule = SessionRule.compile("web", SessionConfig(secret=(SecretStr(SECRET),)))
    headers = {"X-User-Id": "id", "X-User-Email": "email", "X-User-Name": "name"}
    more = {"X-User-Roles": "roles", "X-User-Org": "claims.org.id"}
    return rule, IdentityHeaders({**headers, **more}), PrincipalReader(PrincipalPaths())


def _key(cipher: int) -> bytes:
    """Return the key of v4 (GCM) or of v5 (CBC)."""
    return mint.v5_key(SECRET) if cipher else mint.v4_key(SECRET)


def _cookie(cipher: int) -> str:
    return mint.V5_COOKIE if cipher else mint.V4_COOKIE


def _check_payload(payload: bytes, cipher: int) -> None:
    rule, headers, _ = _sealer()
    key = _key(cipher)
    header = {"alg": "dir", "enc": "A256CBC-HS512" if cipher else "A256GCM"}
    token = mint.seal(header, payload, key, iv=bytes(16 if cipher else 12))
    verified = _verify(rule.verifier, token, _cookie(cipher), NOW)
    if verified is None:
        return
    require(verified.claims == _strictly(payload), "the claims are not what was written")
    expires = verified.claims["exp"]
    require(isinstance(expires, int | float) and not isinstance(expires, bool), "exp is no time")
    require(expires > NOW - TOLERANCE, "it had ended")
    try:
        session = rule.session_of(verified)
    except SessionInvalid:
        return
    for line in session.identity_lines(headers).split(b"\r\n")[:-1]:
        match = FIELD.fullmatch(line)
        require(match is not None and line.isascii(), f"{line!r} is no header line")
        require(match is not None and match[2].strip() == match[2] != b"", f"{line!r} is cut")
    require(session.principal.id.strip("\0") != "", "the id is nothing")


def _strictly(payload: bytes) -> Any:
    """Return the JSON, read by another reader than ours. Raises Finding where there are two
    readings.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len({name for name, _ in pairs}) == len(pairs), "a member that is there twice")
        return dict(pairs)

    def constant(text: str) -> Any:
        raise Finding(f"{text} is no JSON")

    return json.loads(payload.decode(), object_pairs_hook=members, parse_constant=constant)


def _check_header(header: bytes, cipher: int) -> None:
    """A tag that is right makes no header right: alg, enc and kid at most, and no member more."""
    rule, _, _ = _sealer()
    payload = {"sub": "u-1", "exp": int(NOW) + 60}
    token = mint.seal(header, payload, _key(cipher), iv=bytes(16 if cipher else 12))
    if _verify(rule.verifier, token, _cookie(cipher), NOW) is None:
        return
    members = _strictly(header)
    allowed = {"alg", "enc", "kid", "typ", "cty"}
    require(isinstance(members, dict) and set(members) <= allowed, "a member that is not allowed")
    require(members["alg"] == "dir", "an algorithm that is not allowed")
    require(members["enc"] == ("A256CBC-HS512" if cipher else "A256GCM"), "another cipher")
    require(all(isinstance(value, str) for value in members.values()), "a member of another type")


def describe(data: bytes) -> str:
    """Return an input for people."""
    kind, number, rest = (data[0] % _KINDS if data else 0), (data[1:2] or b"\0")[0], data[2:]
    if kind == FORGE:
        vector = vectors()[number % len(vectors())]
        return f"vector {vector.name}, its token changed to {forged(vector, rest)!r}"
    return f"{'payload' if kind == PAYLOAD else 'header'} {rest!r}, cipher {number % 2}"
