from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from proxy.core.jwe import CBC, GCM
from proxy.core.jws import open_signed, sign
from proxy.core.jws_keys import configured_keys, encryption_key, raw_secret_keys
from proxy.errors import SessionInvalid

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES256K": ec.generate_private_key(ec.SECP256K1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED25519 = ed25519.Ed25519PrivateKey.generate()
ED448 = ed448.Ed448PrivateKey.generate()


def public_pem(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def private_pem(key: Any, encryption: Any = None) -> str:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return pem.decode()


def octets(key: bytes, **members: Any) -> str:
    k = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    return json.dumps({"kty": "oct", "k": k, **members})


PAIRS = [("RS256", RSA), ("PS384", RSA), *EC.items(), ("EdDSA", ED25519), ("EdDSA", ED448)]


@pytest.mark.parametrize(("algorithm", "key"), PAIRS, ids=[name for name, _ in PAIRS])
@pytest.mark.parametrize("text", [public_pem, private_pem], ids=["public", "private"])
def test_pem(algorithm: str, key: Any, text: Any) -> None:
    keys = configured_keys(text(key), [algorithm])
    assert open_signed(sign(b"{}", algorithm, key), keys) == b"{}"
    (stored,) = keys.keys[algorithm]
    assert not hasattr(stored, "private_numbers")
    assert not hasattr(stored, "private_bytes")


JWKS = [
    ("RS512", RSA, RSAAlgorithm.to_jwk),
    ("ES256", EC["ES256"], ECAlgorithm.to_jwk),
    ("ES512", EC["ES512"], ECAlgorithm.to_jwk),
    ("EdDSA", ED25519, OKPAlgorithm.to_jwk),
]


@pytest.mark.parametrize(("algorithm", "key", "to_jwk"), JWKS, ids=[row[0] for row in JWKS])
@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_jwk(algorithm: str, key: Any, to_jwk: Any, private: bool) -> None:
    jwk = json.loads(to_jwk(key if private else key.public_key()))
    keys = configured_keys(" " + json.dumps(jwk | {"alg": algorithm}), [])
    assert list(keys.keys) == [algorithm]
    assert open_signed(sign(b"{}", algorithm, key), keys) == b"{}"


@pytest.mark.parametrize(
    ("text", "algorithms", "chosen"),
    [
        pytest.param(octets(b"k" * 64), (), ["HS512"], id="symmetric: as v3"),
        pytest.param(octets(b"k" * 64, alg="HS256"), (), ["HS256"], id="symmetric: its own"),
        pytest.param(
            octets(b"k", alg="HS256"), ("HS384", "HS512"), ["HS384", "HS512"], id="configured"
        ),
        pytest.param(public_pem(EC["ES384"]), (), ["ES384"], id="curve"),
        pytest.param(public_pem(ED25519), (), ["EdDSA"], id="Edwards curve"),
        pytest.param(public_pem(RSA), ("RS256", "PS256"), ["RS256", "PS256"], id="RSA"),
    ],
)
def test_which_algorithms_count(text: str, algorithms: tuple[str, ...], chosen: list[str]) -> None:
    assert list(configured_keys(text, algorithms).keys) == chosen


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        pytest.param(public_pem(RSA), "HS256", id="public key as HMAC secret"),
        pytest.param(public_pem(RSA), "ES256", id="RSA key for a curve"),
        pytest.param(public_pem(EC["ES256"]), "ES384", id="another curve"),
        pytest.param(public_pem(EC["ES256"]), "RS256", id="curve for RSA"),
        pytest.param(public_pem(ED25519), "ES256", id="Edwards curve for ECDSA"),
        pytest.param(octets(b"k" * 64), "RS256", id="symmetric key for RSA"),
        pytest.param(octets(b"k" * 64, alg="A256GCM"), None, id="key for something else"),
        pytest.param(octets(b"k" * 64), "none", id="none"),
        pytest.param(octets(b"k" * 64), "hs256", id="by case"),
        pytest.param(public_pem(RSA), None, id="RSA without algorithms"),
    ],
)
def test_an_algorithm_of_another_type_is_refused(text: str, algorithm: str | None) -> None:
    with pytest.raises(ValueError, match=r"does not go with|is no signature|needs `algorithms`"):
        configured_keys(text, [algorithm] if algorithm else [])


SECRET_K = base64.urlsafe_b64encode(b"do not show this").decode().rstrip("=")
NO_KEYS = {
    "empty": "",
    "text": "secret",
    "broken PEM": public_pem(RSA).replace("A", "!"),
    "PEM with a password": private_pem(RSA, BestAvailableEncryption(b"pw")),
    "certificate header only": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "not JSON": f'{{"kty":"oct","k":"{SECRET_K}"',
    "no kty": json.dumps({"k": SECRET_K}),
    "unknown kty": json.dumps({"kty": "AKP", "k": SECRET_K}),
    "oct without k": json.dumps({"kty": "oct", "key": SECRET_K}),
    "oct with an empty k": json.dumps({"kty": "oct", "k": ""}),
    "oct with a k that is no text": json.dumps({"kty": "oct", "k": [SECRET_K]}),
    "oct with standard base64": json.dumps({"kty": "oct", "k": "+/+/" + SECRET_K}),
    "EC without y": json.dumps({"kty": "EC", "crv": "P-256", "x": SECRET_K}),
    "EC with an unknown curve": json.dumps({"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}),
    "RSA without n": json.dumps({"kty": "RSA", "e": "AQAB", "d": SECRET_K}),
    "OKP without x": json.dumps({"kty": "OKP", "crv": "Ed25519", "d": SECRET_K}),
    "DSA": public_pem(dsa.generate_private_key(2048)),
    "another curve": public_pem(ec.generate_private_key(ec.BrainpoolP256R1())),
}


@pytest.mark.parametrize("text", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        configured_keys(text, ["HS256"])
    assert type(error.value) is ValueError
    assert SECRET_K not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_a_short_rsa_key_is_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    with pytest.raises(ValueError, match="at least 2048 bits"):
        configured_keys(public_pem(short), ["RS256"])


def test_the_raw_secret_signs_as_jsonwebtoken_does() -> None:
    keys = raw_secret_keys(["nëw", "old"], ["HS256", "HS512"])
    for secret in ("nëw", "old"):
        for algorithm in ("HS256", "HS512"):
            token = sign(b"{}", algorithm, secret.encode())
            assert open_signed(token, keys) == b"{}"
    with pytest.raises(SessionInvalid):
        open_signed(sign(b"{}", "HS384", b"old"), keys)


@pytest.mark.parametrize(
    ("secrets", "algorithms"),
    [
        pytest.param(["secret"], ["RS256"], id="algorithm for key pairs"),
        pytest.param(["secret"], ["HS256", "none"], id="none"),
        pytest.param([], ["HS256"], id="no secret"),
        pytest.param([""], ["HS256"], id="empty secret"),
        pytest.param([public_pem(RSA)], ["HS256"], id="public key"),
        pytest.param([octets(b"k" * 32)], ["HS256"], id="JWK"),
    ],
)
def test_what_cannot_be_a_raw_secret_is_refused(secrets: list[str], algorithms: list[str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        raw_secret_keys(secrets, algorithms)


@pytest.mark.parametrize(("length", "enc"), [(32, GCM), (64, CBC)])
def test_the_length_of_an_encryption_key_says_its_cipher(length: int, enc: str) -> None:
    assert encryption_key(octets(bytes(length), alg=enc, use="enc")).enc == enc


@pytest.mark.parametrize(
    "text",
    ["", "secret", "{", octets(bytes(31)), octets(bytes(16)), public_pem(RSA), NO_KEYS["no kty"]],
    ids=["empty", "text", "not JSON", "31 bytes", "16 bytes", "PEM", "no kty"],
)
def test_another_encryption_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encryption_key(text)
