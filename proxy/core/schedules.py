"""How the frameworks make keys out of an app's secret: every schedule there has been, as a table.

Facts, read in the packages' source: HKDF is always over SHA-256 and takes the secret's UTF-8 bytes,
never decoded (packages/core/src/jwt.ts, `getDerivedEncryptionKey`). The salt of the newer schedules
is the configured base name of the cookie, `__Secure-` included and chunk suffix not, so one secret
gives different keys over http and https. Tokens name their key by `kid` from @auth/core 0.24 on:
the key's JWK thumbprint (RFC 7638).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proxy.core.encoding import b64url_encode
from proxy.core.jwe import CBC, GCM, KEY_BYTES

NEXT_AUTH_V3: Final = "next-auth-v3"
AUTHJS_V5: Final = "authjs-v5"
"""What tokens of the schedule V5 are called when they name their key by `kid`."""

_V5_INFO: Final = "Auth.js Generated Encryption Key"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One way from a secret to a key. `salted`: the cookie's base name is salt and part of info."""

    kind: str
    enc: str
    info: str
    salted: bool


V4: Final = Schedule("next-auth-v4", GCM, "NextAuth.js Generated Encryption Key", salted=False)
"""next-auth 4, and next-auth 3 with `encryption: true`."""

CORE_LE_0_18_0: Final = Schedule("authcore-0.18.0", GCM, _V5_INFO, salted=False)
"""@auth/core up to 0.18.0."""

CORE_0_18_1: Final = Schedule("authcore-0.18.1", GCM, _V5_INFO, salted=True)
"""@auth/core 0.18.1 to 0.22, next-auth 5.0.0-beta.4 and beta.5."""

V5: Final = Schedule("authcore-0.23", CBC, _V5_INFO, salted=True)
"""@auth/core from 0.23 on; from 0.24 on (next-auth 5.0.0-beta.6) the tokens have a `kid`."""

SCHEDULES: Final = (V4, CORE_LE_0_18_0, CORE_0_18_1, V5)


def derive(secret: str, schedule: Schedule, cookie_name: str) -> bytes:
    """Return the key that `schedule` makes of `secret` for the cookie with that base name."""
    salt = cookie_name if schedule.salted else ""
    info = f"{schedule.info} ({salt})" if schedule.salted else schedule.info
    return hkdf(secret, salt, info, KEY_BYTES[schedule.enc])


def fits(schedule: Schedule, cookie_name: str) -> bool:
    """Say whether tokens of `schedule` may come in the cookie with that base name.

    The salt-free schedules are older than the names that end in `authjs.session-token`; and without
    a salt any other token that the secret encrypts, a sign-in's state for one, would pass for a
    session.
    """
    return schedule.salted or not cookie_name.endswith("authjs.session-token")


def v3_signing_key(secret: str) -> bytes:
    """Return the HS512 key of next-auth 3 without a configured `signingKey` (dist/lib/jwt.js)."""
    return hkdf(secret, "", "NextAuth.js Generated Signing Key", 64)


def hkdf(secret: str, salt: str, info: str, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) over the UTF-8 bytes of all three; `length` in bytes."""
    return HKDF(SHA256(), length, salt.encode(), info.encode()).derive(secret.encode())


def thumbprint(key: bytes) -> str:
    """Return the JWK thumbprint of a 64-byte key (RFC 7638), with SHA-512 as Auth.js has it."""
    jwk = f'{{"k":"{b64url_encode(key)}","kty":"oct"}}'
    return b64url_encode(hashlib.sha512(jwk.encode()).digest())
