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

UPSTREAM: Final = "127.0.0.1:8800"
"""Where the recording upstream listens when the target is not one of our own gateways."""

Config = dict[str, Any]
Change = Callable[[Config], None]


def _session(secret: str = SECRET, cookie: str = mint.V5_COOKIE) -> Config:
    return {"kind": "authjs", "secret": secret, "cookie": cookie, "allow_weak_secret": True}


def _route(path: str, **more: Any) -> Config:
    return {"path": path, "host": HOST, "upstream": "api", **more}


def _base(endpoint: str) -> Config:
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "sessions": {"web": _session()},
        "cors": {"origins": ["https://app.example.test", "https://*.preview.example.test"]},
        "upstreams": {"api": {"endpoints": [endpoint], "timeouts": {"first_byte": "2s"}}},
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


def _adds(*routes: Config) -> Change:
    return lambda config: config["routes"].extend(routes)


def _sets(**sections: Any) -> Change:
    return lambda config: config.update(sections)


def _regex_public(config: Config) -> None:
    """Make `^/public/[^/]+/endpoint$` the only public rule."""
    config["routes"][0] = _route("/public/*/endpoint", auth="public")


def _database(config: Config) -> None:
    """Look every session up each time: what is cached would hide whether it was."""
    web = _session()
    del web["secret"], web["allow_weak_secret"]
    config["sessions"] = {
        "web": {**web, "database": {"url": "${DATABASE_URL}"}, "cache": {"ttl": "0s"}}
    }


def _two_secrets(config: Config) -> None:
    config["sessions"] = {"a": _session(), "b": _session(OTHER_SECRET)}
    tenants = {"/tenant-a/**": ["a"], "/tenant-b/**": ["b"]}
    config["routes"] += [_route(path, sessions=sessions) for path, sessions in tenants.items()]


PROFILES: Final[dict[str, Change]] = {
    "base": _sets(),
    "strip_prefix": _adds(_route("/svc/**", strip_prefix="/svc")),
    "rewrite": _adds(_route("/rw/**", rewrite="/public/**")),
    "method_rules": _adds(_route("/api/**", methods=["DELETE"], require={"roles": ["admin"]})),
    "email_domain": _adds(_route("/api/domain/**", require={"email_domains": ["example.test"]})),
    "csrf": _sets(csrf={"check_origin": True}),
    "ws": _sets(),
    "limits": _sets(limits={"body": "10MiB"}),
    "admin": _sets(),
    "regex_public": _regex_public,
    "secure_cookie": _sets(sessions={"web": _session(cookie=mint.V5_SECURE_COOKIE)}),
    # `**.css` cannot be said; that everything unlisted is public lets more through.
    "suffix_public": _adds(_route("/**", auth="public")),
    "nextauth_v4": _sets(sessions={"web": _session(cookie=mint.V4_COOKIE)}),
    "login_redirect": _sets(login_url="https://app.example.test/api/auth/signin"),
    "two_secrets": _two_secrets,
    "database": _database,
    "trusted_proxy": _sets(trusted_proxies=["127.0.0.1/32"]),
    "rate_limit": _adds(
        _route("/public/limited/**", auth="public", rate_limit={"by": "ip", "rate": "1/h"}),
        _route("/api/limited/**", rate_limit={"by": "user", "rate": "2/h"}),
    ),
    # There is neither endpoint. Their cases accept a 404, since what is not there fools nobody.
    "forward_auth": _sets(),
    "assertion": _sets(),
    # Not in the file: deadlines 20 times shorter than could be usual, for slow senders.
    "hasty": _sets(limits={"header_timeout": "500ms", "body_idle": "500ms", "idle": "1s"}),
}
"""Profile -> what it changes in base."""

LOGINS: Final = {
    "secure_cookie": (mint.V5_SECURE_COOKIE, "USER_SECURE"),
    "nextauth_v4": (mint.V4_COOKIE, "USER_V4"),
}
"""Profile -> the cookie that sessions come in, and the placeholder of a good one, where it is not
authjs.session-token."""

GATEWAYS: Final[dict[str, tuple[str, ...]]] = {
    "base": (
        *("base", "strip_prefix", "rewrite", "method_rules", "email_domain"),
        *("csrf", "ws", "limits", "admin", "forward_auth", "assertion"),
    ),
    "regex": ("regex_public", "secure_cookie"),
    "suffix": ("suffix_public", "nextauth_v4"),
    "tenants": ("login_redirect", "two_secrets", "rate_limit"),
    "hasty": ("trusted_proxy", "hasty"),
    "stored": ("database",),
}
"""Gateway -> the profiles that it has.

A gateway takes longer to start than all its cases together, so those profiles share one that do
not meddle with each other: the cases of each see nothing of what the others change.
"""


def gateway_of(profile: str) -> str:
    """Return the name of the gateway that has `profile`. KeyError when there is none."""
    for gateway, profiles in GATEWAYS.items():
        if profile in profiles:
            return gateway
    raise KeyError(profile)


def render(gateway: str, endpoint: str, listen: str = "127.0.0.1:0") -> str:
    """Return the configuration file of `gateway` in front of `endpoint`."""
    config = _base(endpoint)
    config["listen"] = listen
    for profile in GATEWAYS[gateway]:
        PROFILES[profile](config)
    return yaml.safe_dump(config, sort_keys=False)
