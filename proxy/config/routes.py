"""The section that says what is served: routes, and what each asks of the user."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, WithJsonSchema

from proxy.config.browser import CorsConfig, CsrfConfig
from proxy.config.fields import (
    Duration,
    Flag,
    Off,
    Section,
    SizeOrOff,
    SomeTexts,
    SomeTokens,
    Text,
    off_or_keys,
    one_or_more,
)
from proxy.config.limits import RateLimits
from proxy.config.upstreams import RouteRetry, Timeouts

_CLAIM_SCHEMA = {"type": ["string", "number", "boolean"]}


def _claim_value(value: object) -> object:
    is_finite = not isinstance(value, float) or abs(value) < float("inf")
    if not isinstance(value, str | int | float) or not is_finite:
        raise ValueError("must be text, a number, true or false, or a list of these")
    return value


ClaimValue = Annotated[StrictBool | StrictInt | StrictFloat | Text, BeforeValidator(_claim_value)]
ClaimValues = Annotated[
    tuple[ClaimValue, ...],
    BeforeValidator(one_or_more),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                _CLAIM_SCHEMA,
                {"type": "array", "items": _CLAIM_SCHEMA, "minItems": 1},
            ]
        }
    ),
]


class Require(Section):
    """What the user must have. Everything that is named here must hold."""

    roles: SomeTexts = ()
    """Roles of which the user has at least one."""
    claims: Annotated[dict[Text, ClaimValues], Field(min_length=1)] = Field(default_factory=dict)
    """Claim path -> the value, or the values of which it is one."""
    email_domains: SomeTexts = ()
    """Domains of which the user's e-mail address is in one, exactly."""


class RouteLimits(Section):
    """Limits of one route. What is left out is as at the top level."""

    body: SizeOrOff = None
    """Bytes of the body; more is 413. `off` lifts the limit."""
    body_idle: Duration | None = None
    """How long a body may stand still while it is being received."""


class RouteConfig(Section):
    """One rule: which requests it is for, who may send them, and where they go."""

    path: Text
    """`/exact`, `/one/*/segment`, `/folder/**` (the folder itself and all below it)."""
    host: Text | None = None
    """Only for this host: `api.example.com`, or `*.example.com`."""
    methods: SomeTokens | None = None
    """Only these methods (GET implies HEAD); left out, all."""
    upstream: Text
    """Name of the upstream."""
    auth: Literal["required", "optional", "public"] = "required"
    """Whether a session is needed, looked at if present, or never looked at."""
    require: Require = Require()
    """What the user must have."""
    sessions: SomeTexts | None = None
    """Names of the sessions that count here; left out, all."""
    cors: Annotated[CorsConfig | Off | None, BeforeValidator(off_or_keys)] = None
    """`off`, or keys that replace those of the top level."""
    csrf: CsrfConfig | None = None
    """Keys that replace those of the top level."""
    limits: RouteLimits = RouteLimits()
    """Limits of this route."""
    rate_limit: RateLimits | None = None
    """Instead of the top level's; `off` for none."""
    timeouts: Timeouts | None = None
    """Keys that replace those of the upstream."""
    retry: RouteRetry | None = None
    """Instead of the upstream's."""
    login_url: Text | None = None
    """Instead of the top level's; `off` for none."""
    upgrade: Literal["websocket", "off"] | None = None
    """Whether WebSockets may be opened; left out, `websocket`, and `off` where `auth: public`."""
    strip_prefix: Text | None = None
    """Beginning of the path that the upstream does not see."""
    rewrite: Text | None = None
    """The path that the upstream sees: a pattern with the wildcards of `path`, in their order."""
    encoded_slashes: Literal["refuse", "allow"] = "refuse"
    """Whether %2F may be in the path, as a character of a segment."""
    case_sensitive: Flag = False
    """The upstream tells upper from lower case in paths."""
    strict_slash: Flag = False
    """The upstream tells `/x` from `/x/`."""
