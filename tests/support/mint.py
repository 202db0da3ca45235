"""Session cookies as NextAuth v4 and Auth.js v5 make them, without a line of the product's code.

The tokens come from joserfc; `seal` builds by hand what no library would: broken headers, wrong
lengths, payloads that are not JSON. Key derivation as in the frameworks' packages/core/src/jwt.ts
and src/jwt/index.ts (v4).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.jwk import OctKey

V4_COOKIE: Final = "next-auth.session-token"
V5_COOKIE: Final = "authjs.session-token"
V5_SECURE_COOKIE: Final = "__Secure-authjs.session-token"

CHUNK: Final = 3936
"""Characters in one cookie of a v5 session that is cut into several (4096 - 160)."""

_ALGORITHMS: Final = ["dir", "A256CBC-HS512", "A256GCM", "DEF"]


def b64u(data: bytes) -> str:
    """Return `data` in base64url without padding (RFC 7515 appendix C)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact_json(value: Mapping[str, Any]) -> bytes:
    """Return JSON without spaces, as JavaScript writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _derive(secret: str, salt: str, info: str, length: int) -> bytes:
    kdf = HKDF(hashes.SHA256(), length, salt.encode(), info.encode())
    return kdf.derive(secret.encode())


def v5_key(secret: str, cookie: str = V5_COOKIE, *, length: int = 64) -> bytes:
    """Return Auth.js v5's key: 64 bytes for A256CBC-HS512, 32 for A256GCM (its first betas)."""
    return _derive(secret, cookie, f"Auth.js Generated Encryption Key ({cookie})", length)


def v4_key(secret: str, *, salt: str = "") -> bytes:
    """Return NextAuth v4's key; the cookies for state, PKCE and nonce name themselves as `salt`."""
    info = "NextAuth.js Generated Encryption Key" + (f" ({salt})" if salt else "")
    return _derive(secret, salt, info, 32)


def thumbprint(key: bytes) -> str:
    """Return the `kid` of a v5 key: its RFC 7638 thumbprint with SHA-512."""
    jwk = compact_json({"k": b64u(key), "kty": "oct"})
    return b64u(hashlib.sha512(jwk).digest())


def claims(sub: str = "u-1", *, age: int = 0, ttl: int = 3600, **more: Any) -> dict[str, Any]:
    """Return the claims of who signed in `age` seconds ago; `exp` is `ttl` seconds from now."""
    now = int(time.time())
    token_id = f"jti-{sub}-{os.urandom(6).hex()}"
    return {"sub": sub, "iat": now - age, "exp": now + ttl, "jti": token_id, **more}


def v5(
    payload: Mapping[str, Any] | bytes,
    secret: str,
    *,
    cookie: str = V5_COOKIE,
    header: Mapping[str, Any] | None = None,
) -> str:
    """Return a session token of Auth.js v5 (A256CBC-HS512 with kid); `header` adds members."""
    key = v5_key(secret, cookie)
    protected = {"alg": "dir", "enc": "A256CBC-HS512", "kid": thumbprint(key), **(header or {})}
    return _encrypt(protected, payload, key)


def v4(payload: Mapping[str, Any] | bytes, secret: str, *, salt: str = "") -> str:
    """Return a session token of NextAuth v4 (A256GCM)."""
    return _encrypt({"alg": "dir", "enc": "A256GCM"}, payload, v4_key(secret, salt=salt))


def _encrypt(header: dict[str, Any], payload: Mapping[str, Any] | bytes, key: bytes) -> str:
    plain = payload if isinstance(payload, bytes) else compact_json(payload)
    return jwe.encrypt_compact(header, plain, OctKey.import_key(key), algorithms=_ALGORITHMS)


def seal(
    header: Mapping[str, Any] | bytes,
    payload: Mapping[str, Any] | bytes,
    key: bytes,
    *,
    iv: bytes | None = None,
    encrypted_key: bytes = b"",
) -> str:
    """Return a compact JWE whose parts fit together whatever they say: a valid tag over any header.

    64 bytes of key: AES-256-CBC with HMAC-SHA-512 (RFC 7518 section 5.2.5); 32 bytes: AES-256-GCM.
    """
    raw = header if isinstance(header, bytes) else compact_json(header)
    plain = payload if isinstance(payload, bytes) else compact_json(payload)
    protected = b64u(raw)
    if len(key) == 64:
        iv = os.urandom(16) if iv is None else iv
        ciphertext, tag = _seal_cbc(protected.encode(), plain, key, iv)
    else:
        iv = os.urandom(12) if iv is None else iv
        sealed = AESGCM(key).encrypt(iv, plain, protected.encode())
        ciphertext, tag = sealed[:-16], sealed[-16:]
    return ".".join([protected, *map(b64u, (encrypted_key, iv, ciphertext, tag))])


def _seal_cbc(aad: bytes, plain: bytes, key: bytes, iv: bytes) -> tuple[bytes, bytes]:
    """Return ciphertext and tag; for the cipher alone, an IV that is too short is zero-filled."""
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv.ljust(16, b"\0")[:16])).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    signed = aad + iv + ciphertext + (len(aad) * 8).to_bytes(8, "big")
    return ciphertext, hmac.digest(key[:32], signed, "sha512")[:32]


def chunk_cookies(token: str, cookie: str = V5_COOKIE, *, size: int = CHUNK) -> list[str]:
    """Return the token as cookie pairs `NAME.0=...`, `NAME.1=...`, cut as Auth.js v5 does."""
    pieces = [token[start : start + size] for start in range(0, len(token), size)]
    return [f"{cookie}.{index}={piece}" for index, piece in enumerate(pieces)]
