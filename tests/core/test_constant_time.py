"""Secrets are compared by a function whose time does not tell how much of a guess is right.

There are four comparisons of secrets: the tag of A256CBC-HS512, the HMAC of a signed token, a row's
token and the admin token. (A256GCM's tag is OpenSSL's, by CRYPTO_memcmp. Memories look credentials
up by SHA-256, which nobody can choose.) Here `hmac.compare_digest` says the opposite of the truth:
what asked it lets forgeries in and refuses the authentic, and what did not ask it would not notice.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

import jwt
import pytest
from pydantic import SecretStr

from proxy.admin.guard import Asked, judge
from proxy.config.model import Address, JwtOptions
from proxy.core.authjs import AuthjsVerifier
from proxy.core.cookies import AUTO
from proxy.core.stored import Row, StoredSessions
from proxy.errors import SessionInvalid
from tests.support import mint

NOW = 1_800_000_000.0
SECRET = "2d6bb9f0c4a18e73f5a90c1e7d3b86f2"
CLAIMS = {"sub": "u-1", "exp": int(NOW) + 60}


def encrypted(secret: str) -> bool:
    """Say whether a token that was sealed with `secret`, and names our key, is let in."""
    ours = {"alg": "dir", "enc": "A256CBC-HS512"}
    key = mint.v5_key(SECRET)
    token = mint.seal(ours, CLAIMS, mint.v5_key(secret)[:32] + key[32:])
    return _passes(AuthjsVerifier([SECRET], AUTO), token)


def signed(secret: str) -> bool:
    verifier = AuthjsVerifier([SECRET], AUTO, jwt=JwtOptions(algorithms=("HS256",)))
    return _passes(verifier, jwt.encode(CLAIMS, secret, "HS256"))


def stored(token: str) -> bool:
    row = Row(SECRET, NOW + 60, "u-1", None, None, None)
    try:
        StoredSessions([], alone=True).judge([row], token, NOW)
    except SessionInvalid:
        return False
    return True


def admin(token: str) -> bool:
    asked = Asked(["10.0.0.1:9090"], [], f"Bearer {token}")
    everywhere = Address.parse("0.0.0.0:9090")
    return judge(asked, everywhere, SecretStr(SECRET), is_open=False) is None


def _passes(verifier: AuthjsVerifier, token: str) -> bool:
    try:
        verifier.verify(token, "authjs.session-token", NOW)
    except SessionInvalid:
        return False
    return True


@pytest.mark.parametrize("passes", [encrypted, signed, stored, admin])
def test_the_verdict_is_that_of_the_comparison_in_constant_time(
    passes: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    another = SECRET[:-1] + "0"
    assert passes(SECRET)
    assert not passes(another)
    compared: list[tuple[bytes, bytes]] = []

    def lie(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one != other

    monkeypatch.setattr(hmac, "compare_digest", lie)
    assert passes(another)
    assert not passes(SECRET)
    assert len(compared) == 2
