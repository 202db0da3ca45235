"""The sections about who is asking: sessions, their claims, and what the upstream is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from proxy.config.database import DatabaseConfig
from proxy.config.fields import (
    Count,
    DurationOrOff,
    DurationOrZero,
    Flag,
    OneOrMoreTexts,
    Section,
    SomeTexts,
    Text,
    Token,
)
from proxy.config.secret import Secret, Secrets

DEFAULT_IDENTITY: Mapping[str, str] = {
    "X-User-Id": "id",
    "X-User-Email": "email",
    "X-User-Name": "name",
    "X-User-Roles": "roles",
}


class PrincipalPaths(Section):
    """Claim paths, with dots; of several the first that is present counts."""

    id: OneOrMoreTexts = ("sub", "id")
    """The user's id. Without one there is no session."""
    email: OneOrMoreTexts = ("email",)
    """The user's e-mail address."""
    name: OneOrMoreTexts = ("name",)
    """The user's name."""
    roles: OneOrMoreTexts = ("roles", "role")
    """The user's roles: a list, or one text."""


class JwtOptions(Section):
    """For apps with their own `encode` and `decode`: which signed or encrypted tokens count."""

    algorithms: SomeTexts = ()
    """Signature algorithms that are accepted. HS* without `signing_key` means the raw secret."""
    signing_key: Secret | None = None
    """Key of the signature (NextAuth v3's `signingKey`): a JWK as JSON text, or PEM."""
    verification_key: Secret | None = None
    """Public key that checks the signature, when the signing key stays with the app: JWK or PEM."""
    encryption_key: Secret | None = None
    """Key of the encryption (NextAuth v3's `encryptionKey`): a JWK as JSON text."""
    encryption: Flag = False
    """The signed token is inside an encrypted one (NextAuth v3's `encryption: true`)."""


class CacheConfig(Section):
    """How long a verified session is believed without looking again."""

    ttl: DurationOrZero = 10.0
    """The longest that an ended session is still let through; `0s` switches the cache off."""
    entries: Count = 100_000
    """Sessions remembered at the same time; one counts once more for each KiB of its token."""


class SessionConfig(Section):
    """One way to be logged in."""

    kind: Literal["authjs"] = "authjs"
    """`authjs`: NextAuth v3-v4 and Auth.js v5, told apart by the token itself."""
    secret: Secrets = ()
    """The app's secret, or a list of them with the current one first."""
    cookie: Token = "auto"
    """Base name of the session cookie; `auto` knows the names that NextAuth and Auth.js use."""
    max_age: DurationOrOff = None
    """Refuse tokens that are older, by their `iat`, whatever their `exp` says."""
    bearer: Flag = False
    """Also accept the session token as `Authorization: Bearer`."""
    principal: PrincipalPaths = PrincipalPaths()
    """Where the claims hold the user."""
    jwt: JwtOptions | None = None
    """For apps with their own `encode` and `decode`."""
    database: DatabaseConfig | None = None
    """For apps with the database strategy: PostgreSQL holds the sessions."""
    cache: CacheConfig = CacheConfig()
    """Verified sessions in memory."""
    allow_weak_secret: Flag = False
    """Start although a secret is short, simple or well known. For development only."""

    @property
    def takes_jwts(self) -> bool:
        """Whether there is a key to verify a token with."""
        return bool(self.secret) or (
            self.jwt is not None and bool(self.jwt.signing_key or self.jwt.verification_key)
        )


IdentityMap = dict[Token, Text]


class IdentityConfig(Section):
    """What the upstream is told about the user."""

    headers: IdentityMap = Field(default_factory=lambda: dict(DEFAULT_IDENTITY))
    """Header name -> `id`, `email`, `name`, `roles` or `claims.PATH`."""
    forward_session_cookie: Flag = False
    """Let the session cookie through to the upstream."""


class UpstreamIdentity(Section):
    """What one upstream is told about the user, instead of what the top level says."""

    headers: IdentityMap
    """Header name -> `id`, `email`, `name`, `roles` or `claims.PATH`. Replaces all of them."""
