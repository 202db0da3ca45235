"""A configuration for the commands to work with, and tokens for it."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any, Final

from proxy.cli.request import Request, Url
from proxy.cli.steps import explanation
from proxy.cli.trial import attempt
from proxy.config.load import Loaded, loads
from proxy.config.model import Config
from proxy.core.rules import Rules, compile_rules
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from tests.support import mint

SECRET: Final = "w7Kd0pZs4mQf-b2Xn9Tj6hLr-8vGc1yEa"
OTHER_SECRET: Final = "q3Nf8uBt1xWk-r5Jm7Ds0gPz-4cHy9vLe"
AT: Final = 1_800_000_000
COOKIE: Final = mint.V5_SECURE_COOKIE

CONFIG: Final = f"""\
public_origin: https://api.example.com
trusted_proxies: [10.0.0.0/8]
health_path: /healthz
sessions:
  web: {{kind: authjs, secret: {SECRET}}}
  tenant: {{kind: authjs, secret: {OTHER_SECRET}, cookie: tenant-session, bearer: true}}
cors:
  origins: [https://app.example.com]
upstreams:
  api: {{endpoints: ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]}}
  own: {{endpoints: ["http://127.0.0.1:8003"], host: upstream}}
routes:
  - {{path: /public/**, upstream: own, auth: public}}
  - path: /admin/**
    upstream: api
    sessions: [web]
    require: {{roles: [admin, root], claims: {{org.plan: [pro]}}, email_domains: [example.com]}}
  - {{path: /tenant/**, upstream: api, sessions: [tenant]}}
  - {{path: /maybe/**, upstream: api, auth: optional}}
  - {{path: /page, upstream: api, login_url: "https://app.example.com/signin"}}
  - {{path: /files/**, host: "*.files.example.com", methods: [GET, PUT], upstream: api}}
  - {{path: /**, upstream: api}}
"""


def loaded(text: str = CONFIG) -> Loaded:
    """Return the configuration, loaded."""
    return loads(text, "gatelodge.yaml", {})


def token(secret: str = SECRET, *, cookie: str = COOKIE, **claims: Any) -> str:
    """Return a session token that was made a minute before AT and lives for an hour."""
    payload = {"sub": "u-1", "iat": AT - 60, "exp": AT + 3600, **claims}
    return mint.v5(payload, secret, cookie=cookie)


@cache
def compiled(text: str) -> tuple[Config, Rules]:
    """Return a configuration and its rules."""
    config = loaded(text).config
    return config, compile_rules(config)


def steps(
    url: str,
    *headers: tuple[str, str],
    method: str = "GET",
    text: str = CONFIG,
    at: float = AT,
    peer: str = "127.0.0.1",
) -> dict[str, Any]:
    """Return the steps of a request, as JSON gives them back."""
    config, rules = compiled(text)
    resolve = Resolver(config, rules, Metrics()).resolve
    head = Request(method, Url.parse(url), headers, peer).head(config)
    told = explanation(config, rules, asyncio.run(attempt(rules, head, resolve, at)))
    encoded: dict[str, Any] = json.loads(json.dumps(told))
    return encoded


def cookie(value: str, name: str = COOKIE) -> tuple[str, str]:
    """Return a Cookie header with a session and one more cookie."""
    return "Cookie", f"theme=dark; {name}={value}"
