"""The configurations that the attack cases name, in this gateway's own configuration language.

There are no regular expressions in routes, on purpose. Where a profile has one, a pattern says the
nearest thing, and never a stricter one: a rule that lets more through leaves an attack more room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

from tests.hostile.tokens import OTHER_SECRET, SECRET
from tests.support import mint

HOST: Final = "api.example.test"
FENCE: Final = "/public/fence/endpoint"
"""A path that is public in every profile; see `arena.py`."""

NOT_BUILT: Final = {
    "regex_deny": "deny rules; routes and roles say the same",
    "redos": "regular expressions in routes, which are left out for good",
    "header_rules": "rules on request headers",
    "trusted_ip_rule": "rules on the client's address",
    "forward_auth": "forward-auth endpoint",
    "forward_auth_trusted": "forward-auth endpoint",
    "revocation": "revocation of sessions",
    "database": "database sessions",
    "csrf_double_submit": "Auth.js double-submit token",
    "http_session": "session check over HTTP",
    "error_pages": "error pages from a backend",
    "assertion": "signed assertion and its JWKS",
    "signout": "sign-out endpoint",
}
"""Profile -> the feature that it is about, which this version does not have.

A key that is not built is refused at start-up, so these gateways cannot be configured, let alone
attacked."""

NOT_BUILT_CASES: Final = {
    "UP-12": "ending a WebSocket together with its session",
}
"""Cases of a profile that exists which need more than the profile says."""

Config = dict[str, Any]


def _session(secret: str = SECRET, cookie: str = mint.V5_COOKIE) -> Config:
    return {"kind": "authjs", "secret": secret, "cookie": cookie, "allow_weak_secret": True}


def _route(path: str, **more: Any) -> Config:
    return {"path": path, "host": HOST, "upstream": "api", **more}


def _base() -> Config:
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "sessions": {"web": _session()},
        "cors": {"origins": ["https://app.example.test", "https://*.preview.example.test"]},
        "upstreams": {"api": {"timeouts": {"first_byte": "2s"}}},
        "routes": [
            _route("/public/**", auth="public"),
            _route("/api/optional/**", auth="optional"),
            _route("/api/admin/**", require={"roles": ["admin"]}),
            _route("/api/**"),
        ],
        # The most talkative log, since it is searched for secrets.
        "log": {"level": "debug", "format": "json", "access": True},
        "drain": {"delay": "0s", "timeout": "1s"},
    }


def _with_routes(*routes: Config) -> Config:
    config = _base()
    config["routes"].extend(routes)
    return config


def _with(**sections: Any) -> Config:
    return {**_base(), **sections}


def _regex_public() -> Config:
    """Return base with `^/public/[^/]+/endpoint$` as the only public rule."""
    config = _base()
    config["routes"][0] = _route("/public/*/endpoint", auth="public")
    return config


def _two_secrets() -> Config:
    config = _with_routes(
        _route("/tenant-a/**", sessions=["a"]), _route("/tenant-b/**", sessions=["b"])
    )
    return {**config, "sessions": {"a": _session(), "b": _session(OTHER_SECRET)}}


PROFILES: Final[dict[str, Callable[[], Config]]] = {
    "base": _base,
    "regex_public": _regex_public,
    # `**.css` cannot be said; that everything unlisted is public lets more through.
    "suffix_public": lambda: _with_routes(_route("/**", auth="public")),
    "strip_prefix": lambda: _with_routes(_route("/svc/**", strip_prefix="/svc")),
    "rewrite": lambda: _with_routes(_route("/rw/**", rewrite="/public/**")),
    "method_rules": lambda: _with_routes(
        _route("/api/**", methods=["DELETE"], require={"roles": ["admin"]})
    ),
    "email_domain": lambda: _with_routes(
        _route("/api/domain/**", require={"email_domains": ["example.test"]})
    ),
    "trusted_proxy": lambda: _with(trusted_proxies=["127.0.0.1/32"]),
    "secure_cookie": lambda: _with(sessions={"web": _session(cookie=mint.V5_SECURE_COOKIE)}),
    "nextauth_v4": lambda: _with(sessions={"web": _session(cookie=mint.V4_COOKIE)}),
    "two_secrets": _two_secrets,
    "csrf": lambda: _with(csrf={"check_origin": True}),
    "ws": _base,
    "login_redirect": lambda: _with(login_url="https://app.example.test/api/auth/signin"),
    "limits": lambda: _with(limits={"body": "10MiB"}),
    "admin": _base,
    # Not profiles of the file: base again, for the cases that measure memory, and with deadlines
    # 20 times shorter, for those about slowness.
    "flood": _base,
    "hasty": lambda: _with(limits={"header_timeout": "500ms", "body_idle": "500ms", "idle": "1s"}),
}
"""Profile -> its configuration, without the upstream's address."""


def render(profile: str, endpoint: str) -> str:
    """Return the configuration file of `profile` in front of `endpoint`. KeyError for others."""
    config = PROFILES[profile]()
    config["upstreams"]["api"]["endpoints"] = [endpoint]
    return yaml.safe_dump(config, sort_keys=False)
