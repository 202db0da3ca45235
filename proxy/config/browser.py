"""The sections about browsers: cross-origin requests (CORS) and forged ones (CSRF)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from proxy.config.fields import DurationOrZero, Flag, Section, Texts, Token, Tokens

KNOWN_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"}
    | {"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"}
)
"""Methods that are forwarded at all; any other is answered with 501."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _any_or_list(value: object) -> object:
    if value != "any" and not isinstance(value, list | tuple):
        raise ValueError("must be any, or a list of header names")
    return value


class CorsConfig(Section):
    """Which other origins may call from a browser. Credentials are always allowed for them."""

    origins: Texts = ()
    """scheme://host[:port], `https://*.example.com` for all names below, or `"null"`."""
    methods: Tokens = METHODS
    """Methods that a preflight grants."""
    headers: Annotated[tuple[Token, ...] | Literal["any"], BeforeValidator(_any_or_list)] = "any"
    """Request headers that a preflight grants; `any` grants what it asks for."""
    expose: Tokens = ("X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy")
    """Response headers that scripts may read, besides those that the upstream exposes."""
    max_age: DurationOrZero = 600.0
    """How long a browser may remember a preflight."""
    private_network: Flag = False
    """Grant preflights that ask for access to a private network."""


class CsrfConfig(Section):
    """Whether the origin of requests that change something is checked."""

    check_origin: Flag = True
    """Check where unsafe requests that carry a session cookie come from."""
    origins: Texts | None = None
    """Other origins that may send them; left out, those of `cors`."""
