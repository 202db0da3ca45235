"""What kind of key a text is."""

from __future__ import annotations

import pytest

from proxy.config.keys import ALGORITHMS, Key
from proxy.core import jws

OCT = '{"kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}'


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN PUBLIC KEY-----\nx", "PEM"),
        ("  \n-----BEGIN RSA PRIVATE KEY-----\nx", "PEM"),
        ('{"kty": "RSA", "n": "x", "e": "AQAB"}', "RSA"),
        ('{"kty": "EC", "crv": "P-256"}', "EC"),
        ('{"kty": "OKP", "crv": "Ed25519"}', "OKP"),
        (OCT, "oct"),
    ],
)
def test_a_key_says_its_type(text: str, kind: str) -> None:
    assert Key.read(text).type == kind


def test_a_symmetric_key_is_its_bytes_and_does_not_show_them() -> None:
    key = Key.read(OCT)
    assert key.octets == bytes(range(32))
    assert "x02" not in repr(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hunter2", "must be a JWK"),
        ("", "must be a JWK"),
        ("[]", "must be a JWK"),
        ('"hunter2"', "must be a JWK"),
        ("[" * 100_000, "must be a JWK"),
        ("{}", "with kty"),
        ('{"kty": "oct"}', "with kty"),
        ('{"kty": "oct", "k": 7}', "with kty"),
        ('{"kty": "oct", "k": "hunter2="}', "not base64url"),
        ('{"kty": "oct", "k": "hunter2+/"}', "not base64url"),
        ('{"kty": "oct", "k": "A"}', "not base64url"),
        ('{"kty": "oct", "k": ""}', "not base64url"),
        ('{"kty": "EC", "crv": "hunter2"}', "crv is one of"),
        ('{"kty": "OKP"}', "crv is one of"),
        ("-----BEGIN CERTIFICATE-----\nx", "not a certificate"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nx", "not encrypted"),
    ],
)
def test_other_texts_are_refused_without_a_word_of_them(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Key.read(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "algorithms"),
    [
        (OCT, {"HS256", "HS384", "HS512"}),
        ('{"kty": "RSA"}', {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ('{"kty": "EC", "crv": "P-384"}', {"ES384"}),
        ('{"kty": "OKP", "crv": "Ed448"}', {"EdDSA"}),
        ("-----BEGIN PUBLIC KEY-----", set(ALGORITHMS) - {"HS256", "HS384", "HS512"}),
    ],
)
def test_a_key_goes_with_the_algorithms_of_its_type(text: str, algorithms: set[str]) -> None:
    key = Key.read(text)
    assert {name for name in ALGORITHMS if key.goes_with(name)} == algorithms


def test_every_algorithm_can_be_verified() -> None:
    assert set(ALGORITHMS) <= set(jws.ALGORITHMS)
