from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe, jws
from joserfc.jwk import OctKey

from proxy.core.mint import GENERATIONS, cookies, default_cookie, mint, seal

NOW = 1_800_000_000.5
SECRET = "a secret for tests"
ENTROPY = bytes(range(32))
NAME = "authjs.session-token"


def key(info: str, salt: str, length: int) -> OctKey:
    raw = HKDF(SHA256(), length, salt.encode(), info.encode()).derive(SECRET.encode())
    return OctKey.import_key(raw)


V4 = key("NextAuth.js Generated Encryption Key", "", 32)
V3_SIGNING = key("NextAuth.js Generated Signing Key", "", 64)
CORE = "Auth.js Generated Encryption Key"
KEYS = {
    "v5": key(f"{CORE} ({NAME})", NAME, 64),
    "v4": V4,
    "authcore-0.23": key(f"{CORE} ({NAME})", NAME, 64),
    "authcore-0.18.1": key(f"{CORE} ({NAME})", NAME, 32),
    "authcore-0.18.0": key(CORE, "", 32),
}
ALGORITHMS = ["dir", "A256GCM", "A256CBC-HS512", "DEF"]


def make(generation: str, claims: dict[str, Any] | None = None, **more: Any) -> str:
    given = {"sub": "u-1"} if claims is None else claims
    return mint(given, NAME, NOW, secret=SECRET, entropy=ENTROPY, generation=generation, **more)


@pytest.mark.parametrize("generation", KEYS)
def test_an_encrypted_token_is_as_the_framework_makes_it(generation: str) -> None:
    opened = jwe.decrypt_compact(make(generation), KEYS[generation], algorithms=ALGORITHMS)
    assert opened.plaintext is not None
    claims = json.loads(opened.plaintext)
    assert uuid.UUID(claims.pop("jti")).version == 4
    assert claims == {"sub": "u-1", "iat": 1_800_000_000, "exp": 1_802_592_000}
    enc = "A256CBC-HS512" if generation in {"v5", "authcore-0.23"} else "A256GCM"
    header = opened.headers()
    assert len(header.pop("kid", "")) == (86 if generation == "v5" else 0)
    assert header == {"alg": "dir", "enc": enc}


@pytest.mark.parametrize(
    ("generation", "algorithm", "signing_key"),
    [
        ("v3", "HS512", V3_SIGNING),
        ("hs256", "HS256", OctKey.import_key(SECRET.encode())),
        ("hs384", "HS384", OctKey.import_key(SECRET.encode())),
        ("hs512", "HS512", OctKey.import_key(SECRET.encode())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:Key size should be:joserfc.errors.SecurityWarning")
def test_a_signed_token_is_as_the_framework_makes_it(
    generation: str, algorithm: str, signing_key: OctKey
) -> None:
    opened = jws.deserialize_compact(make(generation), signing_key, algorithms=[algorithm])
    claims = json.loads(opened.payload)
    assert ("jti" in claims) == (generation != "v3")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("u-1", 30 * 86400)
    assert opened.headers() == {"alg": algorithm}


def test_v3_can_be_encrypted_around_signed() -> None:
    outer = jwe.decrypt_compact(make("v3-encrypted"), V4, algorithms=ALGORITHMS)
    assert outer.headers() == {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}
    assert outer.plaintext is not None
    inner = jws.deserialize_compact(outer.plaintext, V3_SIGNING, algorithms=["HS512"])
    assert json.loads(inner.payload)["sub"] == "u-1"


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def test_given_times_win() -> None:
    claims = {"exp": 5, "iat": None, "jti": "x"}
    assert claims_of(make("hs256", claims)) == claims


def test_the_lifetime_can_be_chosen() -> None:
    claims = claims_of(make("v3", {}, ttl=60.0))
    assert claims == {"iat": 1_800_000_000, "exp": 1_800_000_060}


def test_entropy_makes_the_difference() -> None:
    other = mint({"sub": "u-1"}, NAME, NOW, secret=SECRET, entropy=bytes(32))
    assert other != make("v5")
    assert make("v5") == make("v5")


def test_seal_takes_any_bytes() -> None:
    token = seal(b"\xff", NAME, secret=SECRET, entropy=ENTROPY)
    assert jwe.decrypt_compact(token, KEYS["v5"], algorithms=ALGORITHMS).plaintext == b"\xff"


@pytest.mark.parametrize("generation", ["", "v6", "V5"])
def test_another_generation_is_refused(generation: str) -> None:
    with pytest.raises(ValueError, match="is none of v5, v4"):
        make(generation)


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="entropy"):
        mint({}, NAME, NOW, secret=SECRET, entropy=bytes(31))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_default_cookie_is_the_frameworks(generation: str) -> None:
    new = {"v5", "authcore-0.23", "authcore-0.18.1"}
    expected = NAME if generation in new else "next-auth.session-token"
    assert default_cookie(generation) == expected


@pytest.mark.parametrize(
    ("generation", "length", "sizes"),
    [
        ("v5", 3936, [3936]),
        ("v5", 3937, [3936, 1]),
        ("v5", 10_419, [3936, 3936, 2547]),
        ("v4", 3933, [3933]),
        ("v4", 3934, [3933, 1]),
        ("v3", 9000, [9000]),
        ("v3-encrypted", 9000, [9000]),
    ],
)
def test_long_tokens_are_cut(generation: str, length: int, sizes: list[int]) -> None:
    token = "".join(chr(ord("a") + at % 26) for at in range(length))
    pairs = cookies("sid", token, generation)
    assert [len(value) for _, value in pairs] == sizes
    assert "".join(value for _, value in pairs) == token
    names = ["sid"] if len(sizes) == 1 else [f"sid.{index}" for index in range(len(sizes))]
    assert [name for name, _ in pairs] == names
