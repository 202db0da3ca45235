"""Session tokens of NextAuth v3 and v4 and of Auth.js: which are valid, and what they claim.

The token itself says what it is. Five parts are encrypted, three are signed, one is the key of a
row in a database. The kinds of valid tokens:

    next-auth-v3      signed with v3's derived key; or `jwt.encryption`: encrypted around signed
    next-auth-v4      next-auth 4
    authcore-0.18.0   @auth/core up to 0.18.0
    authcore-0.18.1   @auth/core 0.18.1 to 0.22, next-auth 5.0.0-beta.4 and beta.5
    authcore-0.23     @auth/core 0.23
    authjs-v5         @auth/core from 0.24 on, next-auth 5
    custom-jws        signed as `jwt.algorithms` and `jwt.*_key` say
    custom-jwe        encrypted with `jwt.encryption_key`

Law of the file: a secret signs and encrypts more than sessions (password resets, a sign-in's
state), so a token counts only under the keys that its framework has for sessions, or that the
operator configured.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.config.model import JwtOptions
from proxy.core import jwe, schedules
from proxy.core.claims import TOLERANCE, check_times
from proxy.core.encoding import json_object
from proxy.core.identity import Verified
from proxy.core.jws import JwsKeys, open_signed
from proxy.core.jws_keys import configured_keys, encryption_key, raw_secret_keys
from proxy.core.keyring import KeyRing, SessionKey, derived_ring
from proxy.errors import SessionInvalid

TOKEN_CHARS_MAX: Final = 256 * 1024
INFLATED_BYTES_MAX: Final = 250_000
"""jose's limit, which is the frameworks'."""

ANY_COOKIE: Final = ""
"""In place of a cookie's name, for a token that came in no cookie."""

CUSTOM_JWS: Final = "custom-jws"
CUSTOM_JWE: Final = "custom-jwe"


@dataclass(frozen=True, slots=True)
class _Keys:
    """What counts in a cookie of one name."""

    encryption: KeyRing
    signatures: JwsKeys


class AuthjsVerifier:
    """Judges the tokens of one session. All keys are derived here, once.

    `secrets` with the current one first; `cookie_names` are the base names under which tokens may
    come, which are part of the newer schedules; `max_age` in seconds, counted from `iat`. Raises
    ValueError for keys or algorithms in `jwt` that cannot be used.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        cookie_names: Iterable[str],
        *,
        max_age: float | None = None,
        jwt: JwtOptions | None = None,
    ) -> None:
        options = JwtOptions() if jwt is None else jwt
        names = tuple(dict.fromkeys(cookie_names))
        self._max_age = max_age
        self._nested = options.encryption
        configured = _configured_signatures(secrets, options)
        self._signed_kind = schedules.NEXT_AUTH_V3 if configured is None else CUSTOM_JWS
        places = {name: (name,) for name in names} | {ANY_COOKIE: names}
        self._keys = {
            place: _Keys(
                _encryption(secrets, fitting, options),
                configured or _v3_signatures(secrets, fitting),
            )
            for place, fitting in places.items()
        }

    def verify(self, token: str, cookie_name: str, now: float) -> Verified:
        """Return what a valid token claims.

        `cookie_name` is the base name of its cookie, one of those given, or ANY_COOKIE. Raises
        SessionExpired for a token that was valid once and SessionInvalid for any other bad one,
        with a `reason` for the log.
        """
        payload, kind = self._open(token, self._keys[cookie_name])
        try:
            claims = json_object(payload)
        except ValueError:
            raise SessionInvalid("what the token holds is no JSON object") from None
        tolerance = 0.0 if kind == schedules.NEXT_AUTH_V3 else TOLERANCE  # v3 has none
        expires = check_times(claims, now, tolerance=tolerance, max_age=self._max_age)
        return Verified(claims, kind, expires)

    def _open(self, token: str, keys: _Keys) -> tuple[bytes, str]:
        """Return what the token holds, and its kind."""
        if len(token) > TOKEN_CHARS_MAX:
            raise SessionInvalid("the token is longer than any session")
        dots = token.count(".")
        if dots == 4 and self._nested:
            return _open_nested(token, keys), schedules.NEXT_AUTH_V3
        if dots == 4:
            return keys.encryption.open(jwe.parse(token))
        if dots == 2 and self._nested:
            raise SessionInvalid("the token is only signed, and `encryption` asks for more")
        if dots == 2:
            return open_signed(token, keys.signatures), self._signed_kind
        if dots == 0:
            raise SessionInvalid(
                "looks like the token of a database session, and this session has no database"
            )
        raise SessionInvalid("a token has one part, three or five")

    def __repr__(self) -> str:
        return f"<AuthjsVerifier for {len(self._keys) - 1} cookie names>"


def _configured_signatures(secrets: Sequence[str], options: JwtOptions) -> JwsKeys | None:
    """Return the keys of signed tokens as `jwt:` has them, or None if it does not speak of them."""
    key = options.verification_key or options.signing_key
    if key is not None:
        return configured_keys(key.get_secret_value(), options.algorithms)
    return raw_secret_keys(secrets, options.algorithms) if options.algorithms else None


def _v3_signatures(secrets: Sequence[str], cookie_names: Sequence[str]) -> JwsKeys:
    # The derived key has no salt, so what goes for the salt-free schedules goes for it.
    if not any(schedules.fits(schedules.V4, name) for name in cookie_names):
        return JwsKeys({})
    return JwsKeys({"HS512": [schedules.v3_signing_key(secret) for secret in secrets]})


def _encryption(
    secrets: Sequence[str], cookie_names: Sequence[str], options: JwtOptions
) -> KeyRing:
    if options.encryption_key is not None:
        key = encryption_key(options.encryption_key.get_secret_value())
        return KeyRing([SessionKey(CUSTOM_JWE, key)], named=None)
    tried = (schedules.V4,) if options.encryption else schedules.SCHEDULES
    return derived_ring(secrets, cookie_names, tried)


def _open_nested(token: str, keys: _Keys) -> bytes:
    """Return what a signed token inside an encrypted one holds, as NextAuth v3 nests them."""
    sealed = jwe.parse(token, allow_zip=True)
    inner, _ = keys.encryption.open(sealed)
    if sealed.zipped:
        inner = _inflate(inner)
    try:
        return open_signed(inner.decode("ascii"), keys.signatures)
    except UnicodeDecodeError:
        raise SessionInvalid("what the token holds is no signed token") from None


def _inflate(data: bytes) -> bytes:
    """Return the inflated `data` (raw DEFLATE, RFC 7516 section 4.1.3). Raises SessionInvalid."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, INFLATED_BYTES_MAX + 1)
    except zlib.error:
        raise SessionInvalid("what the token holds is no DEFLATE stream") from None
    if len(inflated) > INFLATED_BYTES_MAX:
        raise SessionInvalid("the token inflates to more than any session")
    if not inflater.eof or inflater.unused_data:
        raise SessionInvalid("what the token holds is more or less than one DEFLATE stream")
    return inflated
