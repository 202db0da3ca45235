from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import JwtOptions
from proxy.core.authjs import ANY_COOKIE, AuthjsVerifier
from proxy.core.cookies import AUTO
from proxy.core.jwe import CBC, GCM, ContentKey
from proxy.core.jws import sign
from proxy.core.mint import GENERATIONS, default_cookie, mint, seal
from proxy.core.schedules import V4, derive, v3_signing_key
from proxy.errors import ProxyError, SessionExpired, SessionInvalid

NOW = 1_800_000_000.0
SECRET = "a secret of the app, for tests only"
OTHER = "a secret of another app, for tests"
ENTROPY = bytes(range(32))
NEW = "authjs.session-token"
OLD = "next-auth.session-token"

KINDS = {
    "v5": "authjs-v5",
    "v4": "next-auth-v4",
    "v3": "next-auth-v3",
    "authcore-0.23": "authcore-0.23",
    "authcore-0.18.1": "authcore-0.18.1",
    "authcore-0.18.0": "authcore-0.18.0",
}

AUTOMATIC = AuthjsVerifier([SECRET], AUTO)


def make(generation: str = "v5", cookie: str | None = None, **claims: Any) -> str:
    name = default_cookie(generation) if cookie is None else cookie
    return mint(
        {"sub": "u-1", **claims}, name, NOW, secret=SECRET, entropy=ENTROPY, generation=generation
    )


def octets(key: bytes) -> str:
    k = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return json.dumps({"kty": "oct", "k": k})


def refused(
    verifier: AuthjsVerifier, token: str, name: str = NEW, now: float = NOW
) -> type[ProxyError]:
    with pytest.raises(SessionInvalid) as refusal:
        verifier.verify(token, name, now)
    assert SECRET not in refusal.value.reason
    assert "u-1" not in refusal.value.reason
    return refusal.type


@pytest.mark.parametrize(("generation", "kind"), KINDS.items())
def test_each_generation_is_accepted(generation: str, kind: str) -> None:
    verified = AUTOMATIC.verify(make(generation), default_cookie(generation), NOW)
    assert verified.kind == kind
    assert verified.claims["sub"] == "u-1"
    assert verified.expires == NOW + 30 * 86400


@pytest.mark.parametrize("generation", KINDS)
def test_each_generation_is_accepted_as_bearer(generation: str) -> None:
    assert AUTOMATIC.verify(make(generation), ANY_COOKIE, NOW).kind == KINDS[generation]


@pytest.mark.parametrize("generation", KINDS)
def test_each_generation_is_accepted_in_a_cookie_of_ones_own(generation: str) -> None:
    verifier = AuthjsVerifier([SECRET], ["sid"])
    assert verifier.verify(make(generation, "sid"), "sid", NOW).kind == KINDS[generation]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_another_secret_is_refused(generation: str) -> None:
    verifier = AuthjsVerifier([OTHER], AUTO)
    name = default_cookie(generation)
    assert refused(verifier, make(generation), name) is SessionInvalid
    assert refused(verifier, make(generation), ANY_COOKIE) is SessionInvalid


@pytest.mark.parametrize("generation", ["v3-encrypted", "hs256", "hs512"])
def test_what_is_not_configured_is_refused(generation: str) -> None:
    assert refused(AUTOMATIC, make(generation), OLD) is SessionInvalid


@pytest.mark.parametrize("generation", ["v3", "v4", "authcore-0.18.0"])
@pytest.mark.parametrize("name", [NEW, f"__Secure-{NEW}"])
def test_the_new_cookies_do_not_take_tokens_without_salt(generation: str, name: str) -> None:
    assert refused(AUTOMATIC, make(generation), name) is SessionInvalid
    assert refused(AuthjsVerifier([SECRET], [name]), make(generation), ANY_COOKIE)


def test_a_token_for_another_cookie_is_refused() -> None:
    assert refused(AUTOMATIC, make("v5", NEW), f"__Secure-{NEW}") is SessionInvalid
    verifier = AuthjsVerifier([SECRET], ["sid"])
    assert refused(verifier, make("v5", NEW), ANY_COOKIE) is SessionInvalid


@pytest.mark.parametrize("generation", KINDS)
def test_each_secret_of_a_list_counts(generation: str) -> None:
    verifier = AuthjsVerifier([OTHER, SECRET], AUTO)
    token, name = make(generation), default_cookie(generation)
    assert verifier.verify(token, name, NOW).kind == KINDS[generation]


@given(st.data())
def test_changing_any_byte_is_refused(data: st.DataObject) -> None:
    generation = data.draw(st.sampled_from(sorted(KINDS)))
    token = make(generation)
    at = data.draw(st.integers(0, len(token) - 1))
    changed = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
    if changed != token[at]:
        refused(AUTOMATIC, token[:at] + changed + token[at + 1 :], default_cookie(generation))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), st.sampled_from(AUTO))
def test_any_text_is_refused(token: str, name: str) -> None:
    refused(AUTOMATIC, token, name)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param("f1d2c3b4-0000-4000-8000-00000000abcd", "database", id="database token"),
        pytest.param("", "database", id="empty"),
        pytest.param("a.b", "one part, three or five", id="two parts"),
        pytest.param("a.b.c.d", "one part, three or five", id="four parts"),
        pytest.param("a.b.c.d.e.f", "one part, three or five", id="six parts"),
        pytest.param("." * 7000, "one part, three or five", id="dots"),
        pytest.param("x" * (256 * 1024 + 1), "longer than any session", id="endless"),
        pytest.param("é.é.é", "header", id="not ASCII, signed"),
        pytest.param("é..é.é.é", "header", id="not ASCII, encrypted"),
        pytest.param("\ud800..a.a.a", "header", id="surrogate"),
    ],
)
def test_another_shape_is_refused_with_its_reason(token: str, reason: str) -> None:
    with pytest.raises(SessionInvalid, match=reason):
        AUTOMATIC.verify(token, NEW, NOW)


PAYLOADS = {
    "not JSON": b"hello",
    "empty": b"",
    "list": b"[]",
    "string": b'"u-1"',
    "number": b"1",
    "not UTF-8": b'{"sub":"\xff","exp":1900000000}',
    "member twice": b'{"sub":"u-1","sub":"admin","exp":1900000000}',
    "exp: Infinity": b'{"sub":"u-1","exp":Infinity}',
    "exp: NaN": b'{"sub":"u-1","exp":NaN}',
    "exp: 1e400": b'{"sub":"u-1","exp":1e400}',
    "exp: true": b'{"sub":"u-1","exp":true}',
    "exp: string": b'{"sub":"u-1","exp":"1900000000"}',
    "exp: null": b'{"sub":"u-1","exp":null}',
    "exp: huge": b'{"sub":"u-1","exp":' + b"9" * 400 + b"}",
    "exp: endless": b'{"sub":"u-1","exp":' + b"9" * 5000 + b"}",
    "exp: missing": b'{"sub":"u-1"}',
    "nbf: string": b'{"sub":"u-1","exp":1900000000,"nbf":"1"}',
    "nbf: ahead": b'{"sub":"u-1","exp":1900000000,"nbf":1800003600}',
    "iat: false": b'{"sub":"u-1","exp":1900000000,"iat":false}',
    "nested for ever": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
@pytest.mark.parametrize("generation", ["v5", "v4", "v3"])
def test_an_authentic_token_that_says_nothing_usable_is_invalid(
    generation: str, payload: bytes
) -> None:
    name = default_cookie(generation)
    token = seal(payload, name, secret=SECRET, entropy=ENTROPY, generation=generation)
    assert refused(AUTOMATIC, token, name) is SessionInvalid


def test_a_claim_with_a_lone_surrogate_is_no_fault_of_the_token() -> None:
    token = seal(b'{"name":"\\ud800x","exp":1900000000}', NEW, secret=SECRET, entropy=ENTROPY)
    assert AUTOMATIC.verify(token, NEW, NOW).claims["name"] == "\ud800x"


EXP = NOW + 30 * 86400


@pytest.mark.parametrize("generation", KINDS)
def test_a_token_expires_with_the_tolerance_of_its_framework(generation: str) -> None:
    tolerance = 0 if generation == "v3" else 15
    token, name = make(generation), default_cookie(generation)
    AUTOMATIC.verify(token, name, EXP + tolerance - 1)
    with pytest.raises(SessionExpired):
        AUTOMATIC.verify(token, name, EXP + tolerance)


def test_max_age_ends_a_session_before_exp() -> None:
    verifier = AuthjsVerifier([SECRET], AUTO, max_age=3600)
    assert verifier.verify(make(), NEW, NOW + 60).expires == NOW + 3600
    with pytest.raises(SessionExpired):
        verifier.verify(make(), NEW, NOW + 3616)
    assert refused(verifier, make(iat=NOW + 60)) is SessionInvalid


def test_a_token_of_the_secret_that_is_for_something_else_is_no_session() -> None:
    """Apps sign password resets and mail confirmations with the same secret."""
    reset = sign(b'{"sub":"u-1","exp":1900000000}', "HS256", SECRET.encode())
    reset512 = sign(b'{"sub":"u-1","exp":1900000000}', "HS512", SECRET.encode())
    for name in (*AUTO, ANY_COOKIE):
        assert refused(AUTOMATIC, reset, name) is SessionInvalid
        assert refused(AUTOMATIC, reset512, name) is SessionInvalid


def configured(**options: Any) -> AuthjsVerifier:
    return AuthjsVerifier([SECRET], [OLD, NEW], jwt=JwtOptions(**options))


def test_a_configured_algorithm_takes_the_raw_secret_with_tolerance() -> None:
    verifier = configured(algorithms=("HS256",))
    token = make("hs256")
    assert verifier.verify(token, NEW, EXP + 14).kind == "custom-jws"
    with pytest.raises(SessionExpired):
        verifier.verify(token, NEW, EXP + 15)
    assert refused(verifier, make("hs512")) is SessionInvalid
    assert refused(verifier, sign(b'{"sub":"u-1"}', "HS256", SECRET.encode())) is SessionInvalid


def test_a_configured_algorithm_replaces_the_key_of_v3() -> None:
    assert refused(configured(algorithms=("HS512",)), make("v3"), OLD) is SessionInvalid


def test_a_configured_algorithm_leaves_encrypted_tokens_alone() -> None:
    assert configured(algorithms=("HS256",)).verify(make("v5"), NEW, NOW).kind == "authjs-v5"


def test_a_configured_signing_key_replaces_the_secret() -> None:
    key = b"k" * 64
    verifier = configured(signing_key=octets(key))
    token = sign(b'{"sub":"u-1","exp":1900000000}', "HS512", key)
    assert verifier.verify(token, NEW, NOW).kind == "custom-jws"
    assert refused(verifier, make("v3"), OLD) is SessionInvalid
    assert refused(verifier, make("hs512"), OLD) is SessionInvalid


@pytest.mark.parametrize(("enc", "length"), [(GCM, 32), (CBC, 64)])
def test_a_configured_encryption_key_replaces_the_derived_ones(enc: str, length: int) -> None:
    raw = bytes(range(length))
    verifier = configured(encryption_key=octets(raw))
    key = ContentKey(enc, raw)
    token = key.seal(b'{"sub":"u-1","exp":1900000000}', b"i" * key.iv_bytes, kid="ek1")
    assert verifier.verify(token, NEW, NOW).kind == "custom-jwe"
    assert refused(verifier, make("v5"), NEW) is SessionInvalid
    assert refused(verifier, make("v4"), OLD) is SessionInvalid


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": ("RS256",)},
        {"algorithms": ("none",)},
        {"signing_key": "no key"},
        {"verification_key": octets(b"k"), "algorithms": ("ES256",)},
        {"encryption_key": octets(b"short")},
    ],
    ids=["key missing", "none", "no key", "another type", "short"],
)
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        configured(**options)


ENCRYPTED = configured(encryption=True)
V4_KEY = ContentKey(GCM, derive(SECRET, V4, ""))


def test_encryption_takes_signed_tokens_inside_encrypted_ones() -> None:
    token = make("v3-encrypted")
    assert ENCRYPTED.verify(token, OLD, EXP - 1).kind == "next-auth-v3"
    with pytest.raises(SessionExpired):
        ENCRYPTED.verify(token, OLD, EXP)


def test_encryption_needs_no_compression() -> None:
    inner = sign(b'{"sub":"u-1","exp":1900000000}', "HS512", v3_signing_key(SECRET))
    token = V4_KEY.seal(inner.encode(), b"i" * 12)
    assert ENCRYPTED.verify(token, OLD, NOW).claims["sub"] == "u-1"


@pytest.mark.parametrize("generation", ["v3", "v4", "v5", "authcore-0.18.0"])
def test_encryption_takes_nothing_else(generation: str) -> None:
    name = default_cookie(generation)
    assert refused(ENCRYPTED, make(generation), name) is SessionInvalid


def nested(content: bytes, **header: str) -> str:
    return V4_KEY.seal(content, b"i" * 12, **header)


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


SIGNED = sign(b'{"sub":"u-1","exp":1900000000}', "HS512", v3_signing_key(SECRET)).encode()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(nested(b'{"sub":"u-1","exp":1900000000}'), id="claims, not signed"),
        pytest.param(nested(b"\xff\xfe"), id="not ASCII"),
        pytest.param(nested(b""), id="empty"),
        pytest.param(nested(SIGNED[:-2]), id="inner signature cut"),
        pytest.param(nested(make("hs512").encode()), id="inner signature by the raw secret"),
        pytest.param(nested(SIGNED, zip="DEF"), id="not deflated"),
        pytest.param(nested(zlib.compress(SIGNED), zip="DEF"), id="zlib, not raw DEFLATE"),
        pytest.param(nested(deflate(SIGNED)), id="deflated and not said"),
        pytest.param(nested(deflate(SIGNED)[:-3], zip="DEF"), id="stream cut short"),
        pytest.param(nested(deflate(SIGNED) + b"x", zip="DEF"), id="more than a stream"),
        pytest.param(nested(b"", zip="DEF"), id="no stream"),
    ],
)
def test_encryption_around_something_else_is_refused(token: str) -> None:
    assert refused(ENCRYPTED, token, OLD) is SessionInvalid


def test_inflating_ends_at_250_kilobytes() -> None:
    padding = "x" * 180_000
    payload = json.dumps({"sub": "u-1", "exp": 1_900_000_000, "x": padding}).encode()
    fits = sign(payload, "HS512", v3_signing_key(SECRET)).encode()
    assert len(fits) < 250_000
    verified = ENCRYPTED.verify(nested(deflate(fits), zip="DEF"), OLD, NOW)
    assert verified.claims["x"] == padding
    bomb = nested(deflate(b"u" * 20_000_000), zip="DEF")
    tracemalloc.start()
    with pytest.raises(SessionInvalid, match="inflates to more"):
        ENCRYPTED.verify(bomb, OLD, NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_compression_is_refused_where_it_is_not_expected() -> None:
    token = nested(b'{"sub":"u-1","exp":1900000000}', zip="DEF")
    assert refused(AUTOMATIC, token, OLD) is SessionInvalid


def test_encryption_with_both_keys_configured() -> None:
    signing, encrypting = b"s" * 64, b"e" * 32
    verifier = configured(
        encryption=True, signing_key=octets(signing), encryption_key=octets(encrypting)
    )
    inner = sign(b'{"sub":"u-1","exp":1900000000}', "HS512", signing)
    token = ContentKey(GCM, encrypting).seal(deflate(inner.encode()), b"i" * 12, zip="DEF")
    assert verifier.verify(token, OLD, NOW).kind == "next-auth-v3"


def test_repr_hides_keys() -> None:
    assert repr(AUTOMATIC) == "<AuthjsVerifier for 4 cookie names>"
