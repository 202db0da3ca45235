"""Tokens that somebody made to get in: confused keys and algorithms, damaged bytes, other purposes.

They are minted without the product's code: by joserfc, by PyJWT, by the frameworks themselves (the
vectors), and by hand where a library would not do it. Each has a twin that is let in and differs in
the one thing that the test is about, so that it is refused for that reason and not for another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import string
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr

from proxy.config.model import JwtOptions, PrincipalPaths
from proxy.core.authjs import ANY_COOKIE, AuthjsVerifier
from proxy.core.cookies import AUTO
from proxy.core.head import RequestHead
from proxy.core.identity import IdentityHeaders, PrincipalReader
from proxy.core.jws import ALGORITHMS
from proxy.errors import ProxyError, SessionExpired, SessionInvalid
from tests.core.test_vectors import VECTORS, named, rule
from tests.support import mint

NOW = 1_800_000_000.0
SECRET = "2d6bb9f0c4a18e73f5a90c1e7d3b86f2"
CLAIMS = {"sub": "u-1", "iat": int(NOW) - 60, "exp": int(NOW) + 3600}
NEW, SECURE, OLD_SECURE, OLD = (
    "authjs.session-token",
    "__Secure-authjs.session-token",
    "__Secure-next-auth.session-token",
    "next-auth.session-token",
)
AUTOMATIC = AuthjsVerifier([SECRET], AUTO)
V5_KEY = mint.v5_key(SECRET)
V4_KEY = mint.v4_key(SECRET)
V5_HEADER = {"alg": "dir", "enc": "A256CBC-HS512", "kid": mint.thumbprint(V5_KEY)}
V4_HEADER = {"alg": "dir", "enc": "A256GCM"}

RSA_KEY = rsa.generate_private_key(65537, 2048)


def is_let_in(token: str, cookie: str = NEW, verifier: AuthjsVerifier = AUTOMATIC) -> bool:
    """Return whether the token is a session, which is then that of u-1."""
    try:
        verified = verifier.verify(token, cookie, NOW)
    except (SessionInvalid, SessionExpired):
        return False
    assert verified.claims["sub"] == "u-1"
    return True


# --- any change of a framework's own token


def _judged(name: str, cookie: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """Return the token and the claims that a Cookie header makes, or None if it is refused."""
    request = RequestHead("GET", "/", 1, ((b"Cookie", cookie),), "127.0.0.1")
    try:
        credential = _RULES[name].find(request, secure=True)
        if credential is None:
            return None
        now = VECTORS[name]["verify_at"]
        verified = _RULES[name].verifier.verify(credential.token, credential.name, now)
    except ProxyError:
        return None
    return credential.token, verified.claims


_RULES = {name: rule(VECTORS[name]) for name in named(valid=True)}
_ALPHABET = string.ascii_letters + string.digits + "-_"


def _changes(text: str, source: random.Random) -> Iterator[tuple[int, str]]:
    """Yield, for every place, a change of the lowest bit, of another one, and any other byte."""
    for at, letter in enumerate(text):
        others = {chr(source.randrange(0x100))}
        if letter in _ALPHABET:
            place = _ALPHABET.index(letter)
            others |= {_ALPHABET[place ^ 1], _ALPHABET[place ^ 1 << source.randrange(6)]}
        yield from ((at, other) for other in others if other != letter)


@pytest.mark.parametrize("name", named(valid=True))
def test_any_changed_byte_of_a_vector_is_refused_or_says_the_same(name: str) -> None:
    """Not of the token alone: of the whole Cookie header, names and separators included.

    What is let in is the very same token: the last character of a base64url part has bits that
    encode nothing, and with those set it decodes to the same bytes, but is refused all the same.
    """
    vector = VECTORS[name]
    cookie: str = vector["cookie_header"]
    whole = _judged(name, cookie.encode())
    assert whole is not None
    places = list(_changes(cookie, random.Random(name)))
    step = max(1, len(places) // 1500)  # all of a usual token, some of those in chunks
    refused = 0
    for at, letter in [*places[::step], *places[-200:]]:
        judged = _judged(name, (cookie[:at] + letter + cookie[at + 1 :]).encode("latin-1"))
        assert judged in (None, whole)
        refused += judged is None
    assert refused >= 200


@given(st.data())
def test_any_piece_left_out_doubled_or_moved_is_refused_or_says_the_same(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(named(valid=True)))
    cookie = VECTORS[name]["cookie_header"].encode()
    start = data.draw(st.integers(0, len(cookie) - 1))
    end = data.draw(st.integers(start + 1, len(cookie)))
    to = data.draw(st.integers(0, len(cookie)))
    whole = _judged(name, cookie)
    piece, without = cookie[start:end], cookie[:start] + cookie[end:]
    for changed in (
        without,
        cookie[:to] + piece + cookie[to:],
        without[:to] + piece + without[to:],
    ):
        assert _judged(name, changed) in (None, whole)


# --- which key goes with which cookie

SCHEDULES = {
    # label: info, whether the cookie's name is salt and part of info
    "v4": ("NextAuth.js Generated Encryption Key", False),
    "v4 salted": ("NextAuth.js Generated Encryption Key", True),
    "v5": ("Auth.js Generated Encryption Key", True),
    "v5 unsalted": ("Auth.js Generated Encryption Key", False),
    "v3 signing": ("NextAuth.js Generated Signing Key", False),
    "better-auth": ("BetterAuth.js Generated Encryption Key", False),
    "auth0": ("JWE CEK", False),
}


def derived(schedule: str, name: str, length: int) -> bytes:
    info, salted = SCHEDULES[schedule]
    salt = name if salted else ""
    text = f"{info} ({name})" if salted else info
    return HKDF(hashes.SHA256(), length, salt.encode(), text.encode()).derive(SECRET.encode())


def expected(schedule: str, enc: str, name: str, cookie: str) -> bool:
    """Say whether a key of this schedule and salt may open what comes in that cookie."""
    places = AUTO if cookie == ANY_COOKIE else (cookie,)
    if schedule == "v5":
        return name in places
    if enc == "A256CBC-HS512" or schedule not in {"v4", "v5 unsalted"}:
        return False
    return any(place.endswith("next-auth.session-token") for place in places)


@pytest.mark.parametrize("enc", ["A256GCM", "A256CBC-HS512"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_key_opens_the_cookies_of_its_own_schedule_and_name_alone(
    schedule: str, enc: str
) -> None:
    length = {"A256GCM": 32, "A256CBC-HS512": 64}[enc]
    for name in (*AUTO, "sid"):
        key = derived(schedule, name, length)
        token = mint.seal({"alg": "dir", "enc": enc}, CLAIMS, key)
        for cookie in (*AUTO, ANY_COOKIE):
            assert is_let_in(token, cookie) is expected(schedule, enc, name, cookie)


@pytest.mark.parametrize("kid", ["", "0", "../../dev/null", "' or 1=1 --", "k" * 86, "\u0000"])
def test_a_kid_only_ever_chooses_among_our_keys(kid: str) -> None:
    assert is_let_in(mint.seal(V5_HEADER, CLAIMS, V5_KEY))
    assert not is_let_in(mint.seal({**V5_HEADER, "kid": kid}, CLAIMS, V5_KEY))
    for key in (bytes(64), bytes(range(64))):
        assert not is_let_in(mint.seal({**V5_HEADER, "kid": kid}, CLAIMS, key))
        assert not is_let_in(mint.seal(V5_HEADER, CLAIMS, key))


def test_the_kid_of_one_key_does_not_open_what_another_sealed() -> None:
    verifier = AuthjsVerifier([SECRET, SECRET[::-1]], AUTO)
    second = mint.v5_key(SECRET[::-1])
    assert is_let_in(mint.v5(CLAIMS, SECRET[::-1]), NEW, verifier)
    assert not is_let_in(mint.seal(V5_HEADER, CLAIMS, second), NEW, verifier)


# --- how the key comes to the token (RFC 7518 section 4)

_WRAPS: dict[str, Any] = {
    "A128KW": OctKey.import_key(V4_KEY[:16]),
    "A256KW": OctKey.import_key(V4_KEY),
    "A128GCMKW": OctKey.import_key(V4_KEY[:16]),
    "A256GCMKW": OctKey.import_key(V4_KEY),
    "PBES2-HS256+A128KW": OctKey.import_key(SECRET.encode()),
    "PBES2-HS512+A256KW": OctKey.import_key(SECRET.encode()),
    "RSA1_5": RSAKey.import_key(RSA_KEY),
    "RSA-OAEP": RSAKey.import_key(RSA_KEY),
    "RSA-OAEP-256": RSAKey.import_key(RSA_KEY),
}


@pytest.mark.parametrize("enc", ["A256GCM", "A256CBC-HS512"])
@pytest.mark.parametrize("alg", _WRAPS)
def test_a_key_that_the_token_brings_is_refused(alg: str, enc: str) -> None:
    header = {"alg": alg, "enc": enc}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of RSA1_5
        token = jwe.encrypt_compact(header, json.dumps(CLAIMS), _WRAPS[alg], algorithms=[alg, enc])
    assert len(token.split(".")) == 5
    for cookie in (*AUTO, ANY_COOKIE):
        assert not is_let_in(token, cookie)


@pytest.mark.parametrize("enc", ["A128GCM", "A192GCM", "A128CBC-HS256", "A192CBC-HS384"])
def test_direct_encryption_with_another_cipher_is_refused(enc: str) -> None:
    """NextAuth 4 takes A128CBC-HS256 under its own key: it looks at the key's length alone."""
    bits = {"A128GCM": 16, "A192GCM": 24, "A128CBC-HS256": 32, "A192CBC-HS384": 48}[enc]
    for whole in (V4_KEY, V5_KEY):
        if len(whole) < bits:
            continue
        key = OctKey.import_key(whole[:bits])
        header = {"alg": "dir", "enc": enc}
        token = jwe.encrypt_compact(header, json.dumps(CLAIMS), key, algorithms=["dir", enc])
        for cookie in (*AUTO, ANY_COOKIE):
            assert not is_let_in(token, cookie)


@pytest.mark.parametrize(
    "more",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "DIR"},
        {"alg": "dir\u0000"},
        {"alg": None},
        {"alg": ["dir"]},
        {"enc": "A256GCM"},
        {"enc": "a256cbc-hs512"},
        {"enc": None},
        {"zip": "DEF"},
        {"zip": None},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"jwk": {"kty": "oct", "k": mint.b64u(V5_KEY)}},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["AAAA"]},
        {"epk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}},
        {"p2c": 2**31 - 1, "p2s": "AA"},
        {"iv": "AAAA", "tag": "AAAA"},
        {"__proto__": {"alg": "dir"}},
        {"kid": None},
        {"kid": 1},
        {"typ": 1},
    ],
    ids=lambda more: "-".join(map(str, more)),
)
def test_a_header_of_an_authentic_token_that_says_more_is_refused(more: dict[str, Any]) -> None:
    assert is_let_in(mint.seal(V5_HEADER, CLAIMS, V5_KEY))
    assert not is_let_in(mint.seal({**V5_HEADER, **more}, CLAIMS, V5_KEY))
    if more != {"enc": "A256GCM"}:
        assert not is_let_in(mint.seal({**V4_HEADER, **more}, CLAIMS, V4_KEY), OLD)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"dir","alg":"dir","enc":"A256CBC-HS512"}',
        b'{"alg":"none","enc":"A256CBC-HS512","alg":"dir"}',
        b'{"alg":"dir","enc":"A256CBC-HS512","\\u0061lg":"dir"}',
        b'{"alg":"dir","enc":"A256CBC-HS512","kid":' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"alg":"dir","enc":"A256CBC-HS512"}{}',
        b'\xef\xbb\xbf{"alg":"dir","enc":"A256CBC-HS512"}',
        '{"alg":"dir","enc":"A256CBC-HS512"}'.encode("utf-16"),
        b'{"alg":"dir","enc":"A256CBC-HS512","kid":NaN}',
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(header: bytes) -> None:
    assert is_let_in(mint.seal(b'{"alg":"dir","enc":"A256CBC-HS512"}', CLAIMS, V5_KEY))
    assert not is_let_in(mint.seal(header, CLAIMS, V5_KEY))


# --- signatures


def octets(key: bytes) -> str:
    return json.dumps({"kty": "oct", "k": mint.b64u(key)})


def pem(key: Any) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(public.decode())


def signed_by(key: Any, *algorithms: str) -> AuthjsVerifier:
    options = JwtOptions(verification_key=SecretStr(pem(key)), algorithms=algorithms)
    return AuthjsVerifier([SECRET], AUTO, jwt=options)


def hmac_signed(header: dict[str, Any], key: bytes, digest: str = "sha256") -> str:
    message = f"{mint.b64u(mint.compact_json(header))}.{mint.b64u(mint.compact_json(CLAIMS))}"
    return f"{message}.{mint.b64u(hmac.digest(key, message.encode(), digest))}"


def _public_spellings() -> dict[str, bytes]:
    public = RSA_KEY.public_key()
    info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(RSAKey.import_key(RSA_KEY).as_dict(private=False))
    return {
        "PEM": pem(RSA_KEY).encode(),
        "PEM without the last line end": pem(RSA_KEY).strip().encode(),
        "PEM with CRLF": pem(RSA_KEY).replace("\n", "\r\n").encode(),
        "PKCS #1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "DER": info,
        "JWK": jwk.encode(),
        "nothing": b"",
    }


@pytest.mark.parametrize("spelling", _public_spellings())
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_hmac_secret(algorithm: str, spelling: str) -> None:
    verifier = signed_by(RSA_KEY, "RS256")
    assert is_let_in(jwt.encode(CLAIMS, RSA_KEY, "RS256"), NEW, verifier)
    key = _public_spellings()[spelling]
    digest = algorithm.replace("HS", "sha")
    assert not is_let_in(hmac_signed({"alg": algorithm}, key, digest), NEW, verifier)
    # Nor by the name of the algorithm that is configured.
    assert not is_let_in(hmac_signed({"alg": "RS256"}, key, digest), NEW, verifier)


@pytest.mark.parametrize(
    ("key", "configured", "used"),
    [
        (RSA_KEY, "RS256", "RS512"),
        (RSA_KEY, "RS256", "PS256"),
        (RSA_KEY, "PS256", "RS256"),
        (RSA_KEY, "PS512", "PS256"),
    ],
)
def test_the_right_key_with_another_algorithm_is_refused(
    key: Any, configured: str, used: str
) -> None:
    verifier = signed_by(key, configured)
    assert is_let_in(jwt.encode(CLAIMS, key, configured), NEW, verifier)
    assert not is_let_in(jwt.encode(CLAIMS, key, used), NEW, verifier)


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", "none ", "", "null"])
@pytest.mark.parametrize("tail", ["", "AA"])
def test_no_signature_is_no_signature_whatever_it_is_called(none: str, tail: str) -> None:
    message = (
        f"{mint.b64u(mint.compact_json({'alg': none}))}.{mint.b64u(json.dumps(CLAIMS).encode())}"
    )
    for verifier in (
        AUTOMATIC,
        signed_by(RSA_KEY, "RS256"),
        AuthjsVerifier([SECRET], AUTO, jwt=JwtOptions(algorithms=("HS256",))),
    ):
        for cookie in (*AUTO, ANY_COOKIE):
            assert not is_let_in(f"{message}.{tail}", cookie, verifier)


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("RS256", lambda: rsa.generate_private_key(65537, 2048)),
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
    ],
)
def test_a_key_that_comes_in_the_header_is_nobodys(algorithm: str, make: Callable[[], Any]) -> None:
    """A token that is signed by its own `jwk`, with the address of a key, or with a certificate."""
    key, foreign = make(), make()
    verifier = signed_by(key, algorithm)
    brought = ALGORITHMS[algorithm].to_jwk(foreign.public_key())
    for more in (
        {"jwk": json.loads(brought)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["AAAA"]},
        {"kid": "/dev/null"},
    ):
        assert not is_let_in(jwt.encode(CLAIMS, foreign, algorithm, headers=more), NEW, verifier)
    # Even the right key does not make such a header good; a kid alone does no harm.
    right = jwt.encode(CLAIMS, key, algorithm, headers={"jwk": json.loads(brought)})
    assert not is_let_in(right, NEW, verifier)
    assert is_let_in(jwt.encode(CLAIMS, key, algorithm, headers={"kid": "1"}), NEW, verifier)


def test_an_unencoded_payload_is_refused() -> None:
    verifier = AuthjsVerifier([SECRET], AUTO, jwt=JwtOptions(algorithms=("HS256",)))
    payload = json.dumps(CLAIMS)
    header = mint.b64u(mint.compact_json({"alg": "HS256", "b64": False, "crit": ["b64"]}))
    tag = hmac.digest(SECRET.encode(), f"{header}.{payload}".encode(), "sha256")
    assert is_let_in(jwt.encode(CLAIMS, SECRET, "HS256"), NEW, verifier)
    assert not is_let_in(f"{header}.{payload}.{mint.b64u(tag)}", NEW, verifier)


def test_signatures_of_the_raw_secret_count_where_they_are_configured_alone() -> None:
    secret = SECRET * 2
    without = AuthjsVerifier([secret], AUTO)
    for algorithm in ("HS256", "HS384", "HS512"):
        token = jwt.encode(CLAIMS, secret, algorithm)
        verifier = AuthjsVerifier([secret], AUTO, jwt=JwtOptions(algorithms=(algorithm,)))
        for cookie in (*AUTO, ANY_COOKIE):
            assert is_let_in(token, cookie, verifier)
            assert not is_let_in(token, cookie, without)


# --- tokens in tokens


def _nested() -> dict[str, str]:
    signed = jwt.encode(CLAIMS, SECRET, "HS256")
    derived_signed = hmac_signed({"alg": "HS512"}, derived("v3 signing", "", 64), "sha512")
    sealed = mint.v5(CLAIMS, SECRET)
    around = {"alg": "dir", "enc": "A256CBC-HS512", "cty": "JWT"}
    return {
        "signed in encrypted": mint.seal(around, signed.encode(), V5_KEY),
        "v3 in v5": mint.seal(around, derived_signed.encode(), V5_KEY),
        "encrypted in encrypted": mint.seal(around, sealed.encode(), V5_KEY),
        "a JSON text in encrypted": mint.seal(around, json.dumps(sealed).encode(), V5_KEY),
        "claims twice in JSON": mint.seal(around, json.dumps(json.dumps(CLAIMS)).encode(), V5_KEY),
        "in a list": mint.seal(around, json.dumps([CLAIMS]).encode(), V5_KEY),
    }


@pytest.mark.parametrize("what", _nested())
def test_a_token_in_a_token_is_none(what: str) -> None:
    assert not is_let_in(_nested()[what])


def test_an_encrypted_token_in_a_signed_one_is_none() -> None:
    verifier = AuthjsVerifier([SECRET], AUTO, jwt=JwtOptions(algorithms=("HS256",)))
    inner = mint.v5(CLAIMS, SECRET).encode()
    token = jwt.api_jws.encode(inner, SECRET, "HS256", headers={"cty": "JWT"})
    assert not is_let_in(token, NEW, verifier)


# --- tokens that the same secret made for something else

OTHER_PURPOSES = [
    f"{prefix}{family}.{purpose}"
    for prefix in ("", "__Secure-", "__Host-")
    for family in ("authjs", "next-auth")
    for purpose in ("state", "pkce.code_verifier", "nonce", "challenge", "csrf-token")
]


@pytest.mark.parametrize("name", OTHER_PURPOSES)
def test_a_cookie_of_a_sign_in_is_no_session(name: str) -> None:
    """@auth/core seals state, PKCE, nonce and challenge with the cookie's name as salt; so does
    next-auth from 4.24.5 on (CVE-2023-48309). With a session's claims in them, to be sure.
    """
    for token in (
        mint.v5(CLAIMS, SECRET, cookie=name),
        mint.v4(CLAIMS, SECRET, salt=name),
        mint.seal(V4_HEADER, CLAIMS, mint.v5_key(SECRET, name, length=32)),
    ):
        for cookie in (*AUTO, ANY_COOKIE):
            assert not is_let_in(token, cookie)


@pytest.mark.parametrize(
    "payload",
    [
        {"state": "x"},
        {"value": "x", "sub": None},
        {"code_verifier": "x", "id": ""},
        {"data": "x", "sub": {"a": 1}},
    ],
)
def test_what_older_frameworks_sealed_like_a_session_names_nobody(payload: dict[str, Any]) -> None:
    """Before CVE-2023-48309 was repaired, state and PKCE were under the session's own key."""
    token = mint.v4({**payload, "exp": int(NOW) + 900}, SECRET)
    claims = AUTOMATIC.verify(token, OLD, NOW).claims
    assert PrincipalReader(PrincipalPaths()).read(claims) is None


@pytest.mark.parametrize(
    "value",
    [
        # The csrf cookie, the callback's, a mail's token and its hash, ids of database sessions.
        f"{'0' * 64}|{hashlib.sha256(('0' * 64 + SECRET).encode()).hexdigest()}",
        "https://app.example.com/dashboard",
        "0" * 64,
        hashlib.sha256(f"{'0' * 64}{SECRET}".encode()).hexdigest(),
        "f1d2c3b4-0000-4000-8000-00000000abcd",
        SECRET,
    ],
)
def test_other_values_of_the_framework_are_no_sessions(value: str) -> None:
    for cookie in (*AUTO, ANY_COOKIE):
        assert not is_let_in(value, cookie)


# --- what the claims say


def sealed(payload: bytes) -> str:
    return mint.seal(V5_HEADER, payload, V5_KEY)


def with_times(**times: str) -> str:
    """Return a token with these times, as JSON texts."""
    written = {"sub": '"u-1"', "iat": str(int(NOW) - 60), "exp": str(int(NOW) + 3600), **times}
    members = ",".join(f'"{name}":{text}' for name, text in written.items())
    return sealed(f"{{{members}}}".encode())


NO_TIMES = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "9007199254740994",
    "-9007199254740994",
    "9" * 400,
    "9" * 5000,
    "1e308",
    "true",
    "false",
    '"1800003600"',
    '""',
    "[]",
    "[1800003600]",
    "{}",
    "01800003600",
    "+1800003600",
    "0x6B49D200",
    "1800003600.",
    "1_800_003_600",
    "\uff11\uff18\uff10\uff10\uff10\uff10\uff13\uff16\uff10\uff10",
]


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("text", NO_TIMES, ids=lambda text: text[:20])
def test_what_is_no_time_is_refused_and_never_taken_for_far_away(name: str, text: str) -> None:
    for verifier in (AUTOMATIC, AuthjsVerifier([SECRET], AUTO, max_age=3600)):
        assert is_let_in(with_times(nbf="1"), NEW, verifier)
        assert not is_let_in(with_times(**{name: text}), NEW, verifier)


@pytest.mark.parametrize(
    ("times", "let_in"),
    [
        ({"exp": "-1"}, False),
        ({"exp": "0"}, False),
        ({"exp": "-0.0"}, False),
        ({"exp": "null"}, False),
        ({"exp": "1.8000036e9"}, True),
        ({"exp": "1800003600.5"}, True),
        ({"exp": "9007199254740992"}, True),
        ({"exp": str(int(NOW) - 15)}, False),
        ({"exp": f"{int(NOW) - 15}.001"}, True),
        ({"nbf": str(int(NOW) + 15)}, True),
        ({"nbf": f"{int(NOW) + 15}.001"}, False),
        ({"nbf": "null"}, False),
        ({"nbf": "-1e9"}, True),
        ({"iat": "null"}, False),
    ],
    ids=str,
)
def test_times_at_the_edge(times: dict[str, str], let_in: bool) -> None:
    assert is_let_in(with_times(**times)) is let_in


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"u-1","sub":"u-1","exp":1900000000}',
        b'{"sub":"u-1","exp":1,"exp":1900000000}',
        b'{"sub":"u-1","exp":1900000000,"\\u0073ub":"admin"}',
        b'{"sub":"u-1","exp":1900000000,"user":{"role":"user","role":"admin"}}',
        b'{"sub":"u-1","exp":1900000000,"list":[{"a":1,"a":2}]}',
        b'{"sub":"u-1","exp":1900000000} ,',
        b'{"sub":"u-1","exp":1900000000}\x00',
        b'{"sub":"u-1"/**/,"exp":1900000000}',
        b'{"sub":"u-\x001","exp":1900000000}',
    ],
)
def test_claims_that_can_be_read_in_two_ways_are_refused(payload: bytes) -> None:
    assert is_let_in(sealed(b'{"sub":"u-1","exp":1900000000}'))
    assert not is_let_in(sealed(payload))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(
    "depth", [1, 100, 900, *range(940, 1010), 5_000, 100_000, 1_000_000], ids=str
)
def test_depth_is_read_or_refused_and_never_ends_us(opening: str, closing: str, depth: int) -> None:
    """Whether it can be read depends on how deep we are ourselves; what is read can be used."""
    deep = f"{opening * depth}1{closing * depth}"
    token = sealed(f'{{"sub":"u-1","exp":1900000000,"deep":{deep}}}'.encode())
    try:
        claims = AUTOMATIC.verify(token, NEW, NOW).claims
    except SessionInvalid:
        assert depth > 500
        return
    assert depth < 1000
    principal = PrincipalReader(PrincipalPaths(roles=("deep",), name=("deep.a.a",))).read(claims)
    assert principal is not None
    lines = IdentityHeaders({"X-Id": "id", "X-Deep": "claims.deep", "X-A": "claims.deep.a.a"})
    told = lines.lines(principal)
    assert told.startswith(b"X-Id: u-1\r\n")
    assert told == b"X-Id: u-1\r\n" or depth <= 2
