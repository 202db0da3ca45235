"""Tokens made by the frameworks' own code, judged as the frameworks do or more strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config.model import JwtOptions, SessionConfig
from proxy.core.head import RequestHead
from proxy.core.identity import Verified
from proxy.core.schedules import V5, derive, thumbprint
from proxy.core.session import SessionRule
from proxy.errors import SessionAmbiguous, SessionExpired, SessionInvalid, Unauthorized

FILE = Path(__file__).parent.parent / "vectors" / "session-vectors.json"
DOCUMENT = json.loads(FILE.read_text(encoding="utf-8"))
VECTORS = {vector["id"]: vector for vector in DOCUMENT["vectors"]}

KINDS = {
    "next-auth-v3": "next-auth-v3",
    "next-auth-v4": "next-auth-v4",
    "authcore-le-0.18.0": "authcore-0.18.0",
    "authjs-v5": "authjs-v5",
    "custom-jws": "custom-jws",
}
OTHER_KINDS = {"na3-es512-key-pair": "custom-jws", "na5-kid-absent-old-secret": "authcore-0.23"}

AMBIGUOUS = {"na4-duplicate-name-first-wins"}
"""The frameworks take the first of two cookies with one name; we refuse both."""

ACCEPTED = {"na4-prefix-lookalike", "na5-prefix-lookalike", "na5-kid-absent-old-secret"}
"""The frameworks refuse these, and `strict_matcher` says that a strict reader may accept them."""

MISSING = {"na5-only-plain-name-when-secure-configured"}

OPTIONS = {
    "signingKey": "signing_key",
    "verificationKey": "verification_key",
    "encryptionKey": "encryption_key",
    "encryption": "encryption",
}


def rule(vector: dict[str, Any]) -> SessionRule:
    """Return the session that an operator would configure for the vector's app."""
    given = vector.get("jwt_options", {})
    checks = given.get("verificationOptions", {})
    algorithms = vector.get("algorithms", checks.get("algorithms", []))
    options = {OPTIONS[name]: value for name, value in given.items() if name in OPTIONS}
    if algorithms:
        options["algorithms"] = algorithms
    return SessionRule.compile(
        "web",
        SessionConfig(
            secret=vector["secrets"],
            cookie=vector["cookie_name"],
            max_age=checks.get("maxTokenAge"),
            jwt=JwtOptions(**options) if options else None,
            allow_weak_secret=True,
        ),
    )


def head(vector: dict[str, Any]) -> RequestHead:
    cookie = vector["cookie_header"].encode()
    return RequestHead("GET", "/", 1, ((b"Cookie", cookie),), "127.0.0.1")


def judge(vector: dict[str, Any]) -> Verified:
    session = rule(vector)
    credential = session.find(head(vector), secure=True)
    assert credential is not None
    return session.verifier.verify(credential.token, credential.name, vector["verify_at"])


def named(*, valid: bool) -> list[str]:
    return [
        name
        for name, vector in VECTORS.items()
        if name not in AMBIGUOUS | MISSING
        and (vector["expect"] == "valid" or name in ACCEPTED) == valid
    ]


def test_the_vectors_are_all_there() -> None:
    assert len(VECTORS) == 73
    assert {vector["family"] for vector in VECTORS.values()} == set(KINDS)


@pytest.mark.parametrize("name", named(valid=True))
def test_a_valid_token_is_accepted(name: str) -> None:
    vector = VECTORS[name]
    verified = judge(vector)
    assert verified.kind == OTHER_KINDS.get(name, KINDS[vector["family"]])
    assert verified.expires == verified.claims["exp"]
    if "claims" in vector:
        assert verified.claims == vector["claims"]


@pytest.mark.parametrize("name", named(valid=False))
def test_an_invalid_token_is_refused(name: str) -> None:
    vector = VECTORS[name]
    expired = vector.get("reason", "").startswith("expired") or "EXPIRED" in vector.get(
        "framework_error", ""
    )
    with pytest.raises(Unauthorized) as refusal:
        judge(vector)
    assert refusal.type is (SessionExpired if expired else SessionInvalid)
    assert refusal.value.reason


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_what_we_accept_beyond_the_frameworks_is_called_safe(name: str) -> None:
    assert VECTORS[name]["strict_matcher"] in {"valid", "either"}


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_two_cookies_of_one_name_are_ambiguous(name: str) -> None:
    with pytest.raises(SessionAmbiguous):
        rule(VECTORS[name]).find(head(VECTORS[name]), secure=True)


@pytest.mark.parametrize("name", sorted(MISSING))
def test_a_cookie_of_another_name_is_no_session(name: str) -> None:
    assert rule(VECTORS[name]).find(head(VECTORS[name]), secure=True) is None


def test_the_derived_key_and_its_name_are_the_frameworks() -> None:
    vector = VECTORS["na5-basic-secure"]
    key = derive(vector["secrets"][0], V5, vector["cookie_name"])
    assert key.hex() == vector["derived_key_hex"]
    assert thumbprint(key) == vector["kid"]
