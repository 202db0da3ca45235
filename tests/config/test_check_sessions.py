"""Secrets, keys, claim paths."""

from __future__ import annotations

import base64
import json
import random

import pytest

from proxy.core.session import SessionRule
from tests.config.helpers import SECRET, config_of, told, written

BYTES = random.Random(3).randbytes(64)
OCT = json.dumps({"kty": "oct", "k": "_T_rPJJQt5dKm1KLaWNjIaRhtV71W3vq_YCamp6SW3k"})
LONG = json.dumps({"kty": "oct", "k": base64.urlsafe_b64encode(BYTES).decode()[:-2]})
ODD = json.dumps({"kty": "oct", "k": base64.urlsafe_b64encode(BYTES[:48]).decode()})
SHORT = json.dumps({"kty": "oct", "k": "aHVudGVyMg"})
EC = json.dumps(
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
)
KEYS = {
    "OCT": OCT,
    "LONG": LONG,
    "ODD": ODD,
    "SHORT": SHORT,
    "EC": EC,
    "RSA": '{"kty": "RSA"}',
    "PEM": "-----BEGIN PUBLIC KEY-----\nx",
    "JUNK": "hunter2",
}
ENV = KEYS | {"AUTH_SECRET": SECRET}
MINE = "secret: '${AUTH_SECRET}'"


def told_of(more: str) -> list[str]:
    return told(written(sessions=f"{{web: {{{more}}}}}"), ENV)


@pytest.mark.parametrize(
    "more",
    [
        MINE,
        f"{MINE}, jwt: {{algorithms: [HS256, HS512]}}",
        f"{MINE}, jwt: {{encryption: true}}",
        "jwt: {algorithms: [HS512], signing_key: '${OCT}'}",
        "jwt: {algorithms: [ES256], verification_key: '${EC}'}",
        "jwt: {signing_key: '${OCT}'}",
        "jwt: {verification_key: '${EC}'}",
        f"{MINE}, jwt: {{encryption_key: '${{OCT}}'}}",
        f"{MINE}, jwt: {{encryption_key: '${{LONG}}'}}",
        "allow_weak_secret: true, secret: x",
        "allow_weak_secret: true, jwt: {algorithms: [HS256], signing_key: '${SHORT}'}",
        f"{MINE}, cookie: __Host-session.v2",
    ],
)
def test_what_can_be_checked_passes_and_compiles(more: str) -> None:
    assert told_of(more) == []
    config = config_of(written(sessions=f"{{web: {{{more}}}}}"), ENV)
    assert SessionRule.compile("web", config.sessions["web"]).name == "web"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("bearer: true", "sessions.web: the key 'secret' is missing here"),
        ("jwt: {encryption: false}", "sessions.web: the key 'secret' is missing here"),
        ("secret: x", "sessions.web.secret: this secret is weak: it is shorter than 32 bytes"),
        ("secret: ['${AUTH_SECRET}', x]", "sessions.web.secret.1: this secret is weak"),
        (f"{MINE}, cookie: session.0", "sessions.web.cookie: must be the cookie's base name"),
        (f"{MINE}, cookie: session.12", "sessions.web.cookie: must be the cookie's base name"),
        (f"{MINE}, principal: {{id: .a}}", "sessions.web.principal.id: a claim path is names"),
        (f"{MINE}, principal: {{roles: [a, b.]}}", "sessions.web.principal.roles.1: a claim path"),
        (f"{MINE}, jwt: {{algorithms: [none]}}", "sessions.web.jwt.algorithms.0: must be one of"),
        (f"{MINE}, jwt: {{algorithms: [hs256]}}", "sessions.web.jwt.algorithms.0: must be one of"),
        (
            f"{MINE}, jwt: {{algorithms: [HS256, ES256]}}",
            "sessions.web.jwt.algorithms: HS* needs a shared key",
        ),
        (
            f"{MINE}, jwt: {{algorithms: [RS256]}}",
            "sessions.web.jwt.algorithms.0: this algorithm needs a verification_key",
        ),
        (
            "jwt: {verification_key: '${PEM}'}",
            "sessions.web.jwt: the key 'algorithms' is missing here: name those of the veri",
        ),
        (
            "jwt: {signing_key: '${RSA}'}",
            "sessions.web.jwt: the key 'algorithms' is missing here: name those of the signing_key",
        ),
        (
            "jwt: {algorithms: [HS256], verification_key: '${PEM}'}",
            "sessions.web.jwt.verification_key: HS256 does not go with this key; it needs a JWK",
        ),
        (
            "jwt: {algorithms: [HS256], signing_key: '${EC}'}",
            "sessions.web.jwt.signing_key: HS256 does not go with this key; it needs a JWK",
        ),
        (
            "jwt: {algorithms: [RS256], verification_key: '${EC}'}",
            "sessions.web.jwt.verification_key: RS256 does not go with this key",
        ),
        (
            "jwt: {algorithms: [ES256, ES384], verification_key: '${EC}'}",
            "sessions.web.jwt.verification_key: ES384 does not go with this key",
        ),
        (
            "jwt: {algorithms: [RS256], verification_key: '${OCT}'}",
            "sessions.web.jwt.verification_key: RS256 does not go with this key",
        ),
        (
            "jwt: {algorithms: [HS256], signing_key: '${SHORT}'}",
            "sessions.web.jwt.signing_key: this key is weak: it is shorter than 32 bytes",
        ),
        (
            "jwt: {algorithms: [HS256], signing_key: '${JUNK}'}",
            "sessions.web.jwt.signing_key: must be a JWK as JSON text, or PEM",
        ),
        (
            f"{MINE}, jwt: {{encryption_key: '${{ODD}}'}}",
            "sessions.web.jwt.encryption_key: must be a JWK of kty oct with 32 bytes",
        ),
        (
            f"{MINE}, jwt: {{encryption_key: '${{PEM}}'}}",
            "sessions.web.jwt.encryption_key: must be a JWK of kty oct with 32 bytes",
        ),
    ],
)
def test_what_cannot_is_told(more: str, expected: str) -> None:
    (found,) = told_of(more)
    assert found.startswith(expected)
    assert "hunter2" not in found


def test_without_a_secret_there_is_nothing_to_encrypt_with() -> None:
    found = told_of("jwt: {algorithms: [ES256], verification_key: '${EC}', encryption: true}")
    assert found == ["sessions.web.jwt.encryption: encryption needs a secret or an encryption_key"]
