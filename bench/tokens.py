"""The sessions that the contestants check: one user, in an Auth.js cookie and in a signed JWT."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from proxy.core.mint import ENTROPY_BYTES, mint

SECRET: Final = "bench-7f3a9c1e5b8d2f4a6c0e9b7d5f3a1c8e"
COOKIE: Final = "__Secure-authjs.session-token"
USER_ID: Final = "usr_01HZY3V9K7Q4W8"
_LIFETIME: Final = 30 * 24 * 3600


@dataclass(frozen=True)
class Signed:
    """A signed token, and the key set (JSON) that verifies it."""

    token: str
    key_set: str


def claims(now: float) -> dict[str, Any]:
    """Return what Auth.js puts into a session for a user who came from GitHub."""
    return {
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "picture": "https://avatars.githubusercontent.com/u/1234567?v=4",
        "sub": USER_ID,
        "iat": int(now),
        "exp": int(now) + _LIFETIME,
        "jti": "0b9f4e0c-5d3e-4d0c-8a53-3a1d7b3e9c11",
    }


def authjs(now: float) -> str:
    """Return the user's claims as Auth.js v5 encrypts them for the cookie COOKIE."""
    entropy = secrets.token_bytes(ENTROPY_BYTES)
    return mint(claims(now), COOKIE, now, secret=SECRET, entropy=entropy)


def signed(now: float) -> Signed:
    """Return the user's claims as a JWT, RS256 with a key made for the occasion."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(claims(now), key, algorithm="RS256", headers={"kid": "bench"})
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    key_set = {"keys": [{**public, "kid": "bench", "alg": "RS256", "use": "sig"}]}
    return Signed(token, json.dumps(key_set))
