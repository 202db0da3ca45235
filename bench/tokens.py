"""The sessions that the contestants check: users, in Auth.js cookies and in signed JWTs."""

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
    """Signed tokens, and the key set (JSON) that verifies them."""

    tokens: tuple[str, ...]
    key_set: str


def claims(now: float, user: int = 0) -> dict[str, Any]:
    """Return what Auth.js puts into a session for a user who came from GitHub."""
    return {
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "picture": "https://avatars.githubusercontent.com/u/1234567?v=4",
        "sub": f"{USER_ID}-{user}" if user else USER_ID,
        "iat": int(now),
        "exp": int(now) + _LIFETIME,
        "jti": "0b9f4e0c-5d3e-4d0c-8a53-3a1d7b3e9c11",
    }


def authjs(now: float, user: int = 0) -> str:
    """Return the user's claims as Auth.js v5 encrypts them for the cookie COOKIE."""
    entropy = secrets.token_bytes(ENTROPY_BYTES)
    return mint(claims(now, user), COOKIE, now, secret=SECRET, entropy=entropy)


def signed(now: float, users: int = 1) -> Signed:
    """Return the claims of so many users as JWTs, RS256 with a key made for the occasion."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tokens = tuple(
        jwt.encode(claims(now, user), key, algorithm="RS256", headers={"kid": "bench"})
        for user in range(users)
    )
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    key_set = {"keys": [{**public, "kid": "bench", "alg": "RS256", "use": "sig"}]}
    return Signed(tokens, json.dumps(key_set))
