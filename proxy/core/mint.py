"""Session tokens as the frameworks make them, for development, the demo and tests.

The gateway itself issues no session. What is random comes in as `entropy`, so nothing here can be
predicted by accident or be random in a test.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from proxy.core import schedules
from proxy.core.jwe import ContentKey
from proxy.core.jws import sign
from proxy.core.schedules import Schedule, derive, thumbprint, v3_signing_key

ENTROPY_BYTES: Final = 32
DEFAULT_TTL: Final = 30 * 86400.0
"""Seconds; the frameworks' `maxAge`."""

_ENCRYPTED: Final[Mapping[str, Schedule]] = {
    "v5": schedules.V5,
    "v4": schedules.V4,
    "authcore-0.23": schedules.V5,
    "authcore-0.18.1": schedules.CORE_0_18_1,
    "authcore-0.18.0": schedules.CORE_LE_0_18_0,
}
_RAW: Final[Mapping[str, str]] = {"hs256": "HS256", "hs384": "HS384", "hs512": "HS512"}

GENERATIONS: Final = (*_ENCRYPTED, "v3", "v3-encrypted", *_RAW)
"""Whose tokens can be made; hs* are signed with the raw secret, for `jwt: {algorithms: ...}`."""

_V3: Final = frozenset({"v3", "v3-encrypted"})
_NEXT_AUTH: Final = _V3 | {"v4", "authcore-0.18.0", *_RAW}

# The frameworks cut at 4096 less what they reckon for a cookie's attributes (cookie.ts).
_CHUNK_CHARS: Final = 3936
_CHUNK_CHARS_V4: Final = 3933


def default_cookie(generation: str) -> str:
    """Return the name that the generation's session cookie has over http."""
    return "next-auth.session-token" if generation in _NEXT_AUTH else "authjs.session-token"


def mint(
    claims: Mapping[str, Any],
    cookie_name: str,
    now: float,
    *,
    secret: str,
    entropy: bytes,
    generation: str = "v5",
    ttl: float = DEFAULT_TTL,
) -> str:
    """Return a token with `claims` that was issued `now` and lasts `ttl` seconds.

    `iat`, `exp` and `jti` are added as the frameworks do, unless `claims` has them. `cookie_name`
    is the base name of the cookie that the token is for; `entropy` are ENTROPY_BYTES random bytes,
    never used twice. Raises ValueError for a generation that is none of GENERATIONS.
    """
    issued: dict[str, Any] = {"iat": int(now), "exp": int(now + ttl)}
    if generation not in _V3:
        issued["jti"] = _uuid4(entropy[16:32])
    payload = json.dumps({**claims, **{k: v for k, v in issued.items() if k not in claims}})
    return seal(
        payload.encode(), cookie_name, secret=secret, entropy=entropy, generation=generation
    )


def seal(
    payload: bytes, cookie_name: str, *, secret: str, entropy: bytes, generation: str = "v5"
) -> str:
    """Return a token that holds the very bytes of `payload`. Arguments and errors as for `mint`."""
    if generation not in GENERATIONS:
        raise ValueError(f"{generation!r} is none of {', '.join(GENERATIONS)}")
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"entropy of {ENTROPY_BYTES} bytes is needed")
    if generation in _RAW:
        return sign(payload, _RAW[generation], secret.encode())
    if generation == "v3":
        return sign(payload, "HS512", v3_signing_key(secret))
    if generation == "v3-encrypted":
        inner = sign(payload, "HS512", v3_signing_key(secret))
        return _encrypt(_deflate(inner.encode()), schedules.V4, secret, "", entropy, zip="DEF")
    schedule = _ENCRYPTED[generation]
    if generation == "v5":
        kid = thumbprint(derive(secret, schedule, cookie_name))
        return _encrypt(payload, schedule, secret, cookie_name, entropy, kid=kid)
    return _encrypt(payload, schedule, secret, cookie_name, entropy)


def _encrypt(
    payload: bytes, schedule: Schedule, secret: str, cookie_name: str, entropy: bytes, **header: str
) -> str:
    key = ContentKey(schedule.enc, derive(secret, schedule, cookie_name))
    return key.seal(payload, entropy[: key.iv_bytes], **header)


def _deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def _uuid4(entropy: bytes) -> str:
    """Return a random UUID (RFC 9562 section 5.4)."""
    number = int.from_bytes(entropy, "big")
    number = number & ~(0xF << 76) | 4 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def cookies(cookie_name: str, token: str, generation: str = "v5") -> list[tuple[str, str]]:
    """Return the cookies that carry a token: one, or the chunks of a long one (not in v3)."""
    size = _CHUNK_CHARS_V4 if generation == "v4" else _CHUNK_CHARS
    if len(token) <= size or generation in _V3:
        return [(cookie_name, token)]
    parts = [token[start : start + size] for start in range(0, len(token), size)]
    return [(f"{cookie_name}.{index}", part) for index, part in enumerate(parts)]
