"""Sessions under attack, over the wire: what is forged opens nothing, and nobody becomes another.

The attacks on single rules are in tests/core/test_tokens_under_attack.py and the tests beside it;
here they meet a whole gateway, with honest requests before and after.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.support import mint
from tests.support.upstream import Recorded, StubUpstream
from tests.support.worker import (
    COOKIE,
    OTHER_SECRET,
    SECRET,
    LocalGateway,
    settings,
    signed_in,
    token,
)

KEY: Final = mint.v5_key(SECRET)
HEADER: Final = {"alg": "dir", "enc": "A256CBC-HS512", "kid": mint.thumbprint(KEY)}
SECURE: Final = mint.V5_SECURE_COOKIE


def told(request: Recorded) -> dict[str, str]:
    """Return what the backend is told about the user."""
    return {
        name.decode(): value.decode("latin-1")
        for name, value in request.headers
        if name.lower().startswith(b"x-user")
    }


def saying(**members: str) -> str:
    """Return an authentic token of `root` whose claims have these members, as JSON texts."""
    now = mint.claims()["iat"]
    texts = {"sub": '"root"', "iat": str(now), "exp": str(now + 600), **members}
    payload = ",".join(f'"{name}":{text}' for name, text in texts.items())
    return mint.seal(HEADER, f"{{{payload}}}".encode(), KEY)


def sealed(**header: Any) -> str:
    return mint.seal({**HEADER, **header}, mint.claims("root"), KEY)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def _unsigned() -> str:
    parts = ({"alg": "none"}, mint.claims("root"))
    return ".".join(mint.b64u(mint.compact_json(part)) for part in parts) + "."


FORGED: Final[dict[str, Callable[[], str]]] = {
    "alg none": _unsigned,
    "raw secret": lambda: jwt.encode(mint.claims("root"), SECRET, "HS256"),
    "another secret": lambda: token("root", secret=OTHER_SECRET),
    "another salt": lambda: token("root", cookie=SECURE),
    "the salt of state": lambda: token("root", cookie="authjs.state"),
    "the salt of pkce": lambda: token("root", cookie="__Secure-authjs.pkce.code_verifier"),
    "v4 in a v5 cookie": lambda: mint.v4(mint.claims("root"), SECRET),
    "key wrap": lambda: sealed(alg="A256KW"),
    "password": lambda: sealed(alg="PBES2-HS512+A256KW", p2c=2**31 - 1, p2s="AA"),
    "RSA1_5": lambda: sealed(alg="RSA1_5"),
    "the other cipher": lambda: sealed(enc="A256GCM"),
    "a shorter cipher": lambda: sealed(enc="A128CBC-HS256"),
    "kid of nobody": lambda: sealed(kid="../../dev/null"),
    "kid null": lambda: sealed(kid=None),
    "jwk": lambda: sealed(jwk={"kty": "oct", "k": mint.b64u(KEY)}),
    "jku": lambda: sealed(jku="https://evil.example/jwks"),
    "x5u": lambda: sealed(x5u="https://evil.example/cert"),
    "crit": lambda: sealed(crit=["b64"], b64=False),
    "zip": lambda: mint.seal(
        {**HEADER, "zip": "DEF"}, deflated(mint.compact_json(mint.claims("root"))), KEY
    ),
    "zip bomb": lambda: mint.v5(
        mint.claims("root", x="u" * 20_000_000), SECRET, header={"zip": "DEF"}
    ),
    "header twice": lambda: mint.seal(
        b'{"alg":"none","alg":"dir","enc":"A256CBC-HS512"}', mint.claims("root"), KEY
    ),
    "deep header": lambda: mint.seal(b"[" * 700, mint.claims("root"), KEY),
    "nested": lambda: mint.seal({**HEADER, "cty": "JWT"}, token("root").encode(), KEY),
    "deep claims": lambda: saying(deep="[" * 12_000 + "]" * 12_000),
    "sub twice": lambda: mint.seal(
        HEADER, b'{"sub":"u-1",' + mint.compact_json(mint.claims("root"))[1:], KEY
    ),
    "exp NaN": lambda: saying(exp="NaN"),
    "exp Infinity": lambda: saying(exp="Infinity"),
    "exp 1e400": lambda: saying(exp="1e400"),
    "exp endless": lambda: saying(exp="9" * 5000),
    "exp true": lambda: saying(exp="true"),
    "exp text": lambda: saying(exp='"4102444800"'),
    "exp null": lambda: saying(exp="null"),
    "iat true": lambda: saying(iat="true"),
    "nbf list": lambda: saying(nbf="[1]"),
    "nbf ahead": lambda: saying(nbf="4102444800"),
    "sub object": lambda: saying(sub='{"toString":"root"}'),
    "sub list": lambda: saying(sub='["root"]'),
    "sub true": lambda: saying(sub="true"),
    "sub null": lambda: saying(sub="null"),
    "sub empty": lambda: saying(sub='""'),
    "sub surrogate": lambda: saying(sub='"\\ud800root"'),
    "sub endless": lambda: saying(sub=f'"{"r" * 600}"'),
    "not an object": lambda: mint.seal(HEADER, b'["root"]', KEY),
}
"""Tokens that would open the gateway for `root` if one rule of it did not hold."""

GOOD_AS_BEARER: Final = {"another salt", "v4 in a v5 cookie"}
"""Nothing says which cookie a bearer was, so it may be of any that the app could have."""


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_token_opens_nothing(
    gateway: LocalGateway, upstream: StubUpstream, what: str
) -> None:
    forged = FORGED[what]()
    lines = ["Cookie: " + "; ".join(mint.chunk_cookies(forged))]
    if what not in GOOD_AS_BEARER:
        lines.append(f"Authorization: Bearer {forged}")
    if len(forged) < 4000:
        lines.append(f"Cookie: {COOKIE}={forged}")
    for line in [*lines, *lines]:
        answer = await gateway.ask("GET", "/api/x", line)
        assert (answer.status, answer.json()["code"]) == (401, "session_invalid")
    assert upstream.connections == []
    assert (await gateway.ask("GET", "/api/x", signed_in("u-1"))).status == 200
    assert told(upstream.requests[0]) == {"X-User-Id": "u-1"}
    assert forged not in gateway.log_text()


async def test_an_honest_twin_of_the_forged_tokens_is_let_in(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    """Else the table above would be refused for what its tokens have in common."""
    for twin in (saying(), sealed(), saying(deep="[[1]]", nbf="1")):
        for line in (f"Authorization: Bearer {twin}", f"Cookie: {COOKIE}={twin}"):
            assert (await gateway.ask("GET", "/api/x", line)).status == 200
    assert [told(each) for each in upstream.requests] == [{"X-User-Id": "root"}] * 6


GOOD: Final = token("u-1")
GOOD_SECURE: Final = token("u-1", cookie=SECURE)
EVIL: Final = token("evil")
EVIL_SECURE: Final = token("evil", cookie=SECURE)

OPENS: Final[dict[str, tuple[bool, list[str], str]]] = {
    # label: whether clients use https, Cookie headers, what is left of them for the backend
    "secure": (True, [f"{SECURE}={GOOD_SECURE}"], ""),
    "a plain one tossed before": (True, [f"{COOKIE}={EVIL}; {SECURE}={GOOD_SECURE}"], ""),
    "a plain one tossed behind": (True, [f"{SECURE}={GOOD_SECURE}; {COOKIE}={EVIL}"], ""),
    "a plain one in a line before": (True, [f"{COOKIE}={EVIL}", f"{SECURE}={GOOD_SECURE}"], ""),
    "a plain one where https is hidden": (
        False,
        [f"{COOKIE}={EVIL}; {SECURE}={GOOD_SECURE}"],
        "",
    ),
    "plain chunks": (True, [f"{COOKIE}.0={EVIL}; {SECURE}={GOOD_SECURE}; {COOKIE}.7=x"], ""),
    "other cases": (
        True,
        [f"__SECURE-authjs.session-token={EVIL}; {SECURE}={GOOD_SECURE}; AUTHJS.SESSION-TOKEN=1"],
        f"__SECURE-authjs.session-token={EVIL}; AUTHJS.SESSION-TOKEN=1",
    ),
    "another prefix": (
        True,
        [f"__Host-authjs.session-token={EVIL}; {SECURE}={GOOD_SECURE}"],
        f"__Host-authjs.session-token={EVIL}",
    ),
    "a longer name": (
        True,
        [f"{SECURE}-old={EVIL}; {SECURE}={GOOD_SECURE}; x{SECURE}={EVIL}"],
        f"{SECURE}-old={EVIL}; x{SECURE}={EVIL}",
    ),
    "a nameless one": (
        True,
        [f"={SECURE}={EVIL_SECURE}; {SECURE}={GOOD_SECURE}"],
        f"={SECURE}={EVIL_SECURE}",
    ),
    "inside another's value": (
        True,
        [f"a={SECURE}={EVIL_SECURE}; {SECURE}={GOOD_SECURE}"],
        f"a={SECURE}={EVIL_SECURE}",
    ),
    "twice the same": (True, [f"{SECURE}={GOOD_SECURE}", f"{SECURE}={GOOD_SECURE}"], ""),
    "versions": (
        True,
        [f"$Version=1; {SECURE}={GOOD_SECURE}; $Path=/"],
        "$Version=1; $Path=/",
    ),
    "spaces and tabs": (True, [f" \t{SECURE} = {GOOD_SECURE}\t; b=1"], "b=1"),
    "chunks in two lines": (
        True,
        [f"{SECURE}.1={GOOD_SECURE[300:]}", f"{SECURE}.0={GOOD_SECURE[:300]}"],
        "",
    ),
}


@pytest.fixture
async def gateways(upstream: StubUpstream) -> AsyncIterator[dict[bool, LocalGateway]]:
    """Two gateways: to the clients of one https is shown by `public_origin`."""
    public = settings(upstream.url, public_origin="https://api.example.com")
    async with LocalGateway(public) as https, LocalGateway(settings(upstream.url)) as http:
        yield {True: https, False: http}


@pytest.mark.parametrize("what", OPENS)
async def test_a_tossed_cookie_changes_nothing(
    gateways: dict[bool, LocalGateway], upstream: StubUpstream, what: str
) -> None:
    https, headers, left = OPENS[what]
    for _ in range(3):
        lines = [f"Cookie: {header}" for header in headers]
        answer = await gateways[https].ask("GET", "/api/x", *lines)
        assert answer.status == 200
    for each in upstream.requests:
        assert told(each) == {"X-User-Id": "u-1"}
        assert "; ".join(each.values("Cookie")) == left


REFUSED: Final[dict[str, tuple[bool, list[str], str]]] = {
    # label: whether clients use https, Cookie headers, the code of the problem
    "plain alone over https": (True, [f"{COOKIE}={GOOD}"], "session_missing"),
    "two": (True, [f"{SECURE}={GOOD_SECURE}; {SECURE}={EVIL_SECURE}"], "session_ambiguous"),
    "two lines": (
        True,
        [f"{SECURE}={GOOD_SECURE}", f"{SECURE}={EVIL_SECURE}"],
        "session_ambiguous",
    ),
    "two, of which one is smuggled in quotes": (
        False,
        [f'{COOKIE}={GOOD}; theme="dark; {COOKIE}={EVIL}; end"'],
        "session_ambiguous",
    ),
    "quoted": (False, [f'$Version=1; {COOKIE}="{GOOD}"'], "session_invalid"),
    "whole and a chunk": (True, [f"{SECURE}={GOOD_SECURE}; {SECURE}.0=x"], "session_invalid"),
    "a chunk too many": (
        True,
        [f"{SECURE}.0={GOOD_SECURE[:300]}; {SECURE}.1={GOOD_SECURE[300:]}; {SECURE}.2=x"],
        "session_invalid",
    ),
    "two of one chunk": (
        True,
        [f"{SECURE}.0={GOOD_SECURE[:300]}; {SECURE}.1={GOOD_SECURE[300:]}; {SECURE}.1=x"],
        "session_ambiguous",
    ),
    "another case alone": (False, [f"Authjs.session-token={GOOD}"], "session_missing"),
    "nameless alone": (False, [f"={COOKIE}={GOOD}"], "session_missing"),
    "Host alone": (True, [f"__Host-authjs.session-token={GOOD}"], "session_missing"),
    "no-break space": (False, [f"\xa0{COOKIE}={GOOD}"], "session_missing"),
    "en quad": (False, [f"\xe2\x80\x80{COOKIE}={GOOD}"], "session_missing"),
    "comma for semicolon": (False, [f"a=1, {COOKIE}={GOOD}"], "session_missing"),
    "escaped name": (False, [f"authjs%2esession-token={GOOD}"], "session_missing"),
    "renamed to the secure one": (False, [f"{SECURE}={GOOD}"], "session_invalid"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_cookie_that_is_not_the_session_opens_nothing(
    gateways: dict[bool, LocalGateway], upstream: StubUpstream, what: str
) -> None:
    https, headers, code = REFUSED[what]
    for _ in range(3):
        lines = [f"Cookie: {header}" for header in headers]
        answer = await gateways[https].ask("GET", "/api/x", *lines)
        assert (answer.status, answer.json()["code"]) == (401, code)
    assert upstream.connections == []


SAYS: Final[list[tuple[dict[str, str], dict[str, str]]]] = [
    # claims as JSON texts, and what the backend is told beside the id
    ({"name": '"Eve\\r\\nX-User-Roles: admin"'}, {"X-User-Name": "Eve%0D%0AX-User-Roles: admin"}),
    ({"name": '"\\u0000\\n\\u0085\\u2028"'}, {"X-User-Name": "%00%0A%C2%85%E2%80%A8"}),
    ({"name": '" \\t padded "'}, {"X-User-Name": "%20%09 padded%20"}),
    ({"name": '"\\udc00"', "email": '"\\ud83d"'}, {}),
    ({"name": '"\\ud83d\\ude00"'}, {"X-User-Name": "%F0%9F%98%80"}),
    ({"name": '{"a":1}', "email": '["a@b.example"]', "roles": '{"admin":true}'}, {}),
    ({"name": "true", "email": "7", "roles": "true"}, {}),
    ({"name": '""', "email": "null", "roles": "[]"}, {}),
    ({"roles": '["user,admin","x\\r\\ny"]'}, {"X-User-Roles": "user%2Cadmin,x%0D%0Ay"}),
    ({"roles": '["user",["admin"]]'}, {}),
    ({"roles": '["user",true]'}, {}),
    ({"roles": '["user","\\ud800"]'}, {}),
    ({"roles": "[1,2.0,1e22]"}, {"X-User-Roles": "1,2,1e+22"}),
    ({"name": f'"{"n" * 8000}"'}, {"X-User-Name": "n" * 8000}),
    ({"name": f'"{"n" * 8001}"', "email": '"a@b.example"'}, {"X-User-Email": "a@b.example"}),
    ({"name": '"' + "\u00e9" * 2000 + '"'}, {}),
    ({"roles": f'["{"r" * 4000}","{"s" * 4000}"]'}, {}),
    ({"id": '"other"', "user": '{"id":"other"}', "X-User-Id": '"other"'}, {}),
]


@pytest.mark.parametrize(("says", "heard"), SAYS, ids=lambda each: "-".join(each) or "nothing")
async def test_claims_make_whole_header_lines_or_none(
    gateway: LocalGateway, upstream: StubUpstream, says: dict[str, str], heard: dict[str, str]
) -> None:
    cookie = "; ".join(mint.chunk_cookies(saying(**says)))
    for _ in range(3):
        assert (await gateway.ask("GET", "/api/x", f"Cookie: {cookie}")).status == 200
    for each in upstream.requests:
        assert told(each) == {"X-User-Id": "root", **heard}
        head = bytes(each.raw).partition(b"\r\n\r\n")[0]
        assert max(map(len, head.split(b"\r\n"))) < 8190
        assert b"\n" not in head.replace(b"\r\n", b"")


async def test_roles_that_are_no_roles_open_no_door(
    gateway: LocalGateway, upstream: StubUpstream
) -> None:
    for text in ('{"admin":true}', '["user",["admin"]]', "true", '[["admin"]]', '"admin,user"'):
        line = f"Cookie: {COOKIE}={saying(roles=text)}"
        assert (await gateway.ask("GET", "/admin/x", line)).status == 403
    assert upstream.connections == []
    admin = saying(roles='"admin"')
    line = f"Cookie: {COOKIE}={admin}"
    assert (await gateway.ask("GET", "/admin/x", line)).status == 200


def nested(claims: dict[str, Any]) -> str:
    """Return a token of NextAuth v3 with `encryption: true`: signed, deflated, encrypted."""
    info = b"NextAuth.js Generated Signing Key"
    key = HKDF(hashes.SHA256(), 64, b"", info).derive(SECRET.encode())
    signed = jwt.encode(claims, key, "HS512").encode()
    header = {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}
    return mint.seal(header, deflated(signed), mint.v4_key(SECRET))


async def test_a_bomb_where_compression_is_expected_opens_nothing(upstream: StubUpstream) -> None:
    """An authentic one: up to 250 kB it would be a session."""
    web = {"kind": "authjs", "secret": SECRET, "jwt": {"encryption": True}}
    async with LocalGateway(settings(upstream.url, sessions={"web": web})) as gateway:
        for size, status in ((0, 200), (150_000, 200), (250_000, 401), (20_000_000, 401)):
            made = nested(mint.claims("root", x="u" * size))
            chunks = "; ".join(mint.chunk_cookies(made, mint.V4_COOKIE))
            answer = await gateway.ask("GET", "/api/x", f"Cookie: {chunks}")
            assert answer.status == status
    assert len(upstream.requests) == 2
