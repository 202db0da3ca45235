"""The configuration for people to look at."""

from __future__ import annotations

import json

from proxy.config.redact import redacted
from tests.config.helpers import ENV, SECRET, config_of, written

KEY = json.dumps({"kty": "oct", "k": "_T_rPJJQt5dKm1KLaWNjIaRhtV71W3vq_YCamp6SW3k"})
TEXT = written(
    admin_token="'${AUTH_SECRET}'",
    sessions="{web: {secret: ['${AUTH_SECRET}'], "
    "jwt: {algorithms: [HS256], signing_key: '${KEY}'}}}",
    limits="{body: off}",
    routes="[{path: /a, upstream: api}, {path: /b, upstream: api, limits: {body: 1KiB}}]",
    tests="[{request: GET /a, headers: {Authorization: '${AUTH_SECRET}'}, "
    "cookies: {session: '${AUTH_SECRET}'}, as: {roles: [a]}, expect: 200}, "
    "{request: GET /b, expect: 200}]",
)


def test_secrets_are_covered() -> None:
    values = redacted(config_of(TEXT, ENV | {"KEY": KEY}))
    assert values["admin_token"] == "***"
    assert values["sessions"]["web"]["secret"] == ["***"]
    assert values["sessions"]["web"]["jwt"]["signing_key"] == "***"
    assert values["sessions"]["web"]["jwt"]["verification_key"] is None
    assert values["tests"][0]["headers"] == {"Authorization": "***"}
    assert values["tests"][0]["cookies"] == {"session": "***"}
    text = json.dumps(values)
    assert SECRET not in text
    assert "_T_rPJJ" not in text


def test_values_are_in_the_words_of_the_file() -> None:
    values = redacted(config_of(TEXT, ENV | {"KEY": KEY}))
    assert values["listen"]["address"] == "0.0.0.0:8080"
    assert values["limits"]["body"] == "off"
    assert values["limits"]["head"] == "64KiB"
    assert values["upstreams"]["api"]["endpoints"] == [
        {"url": "http://127.0.0.1:8000", "weight": 1}
    ]
    assert values["upstreams"]["api"]["timeouts"]["connect"] == "2s"
    assert values["tests"][0]["as"] == {"roles": ["a"]}


def test_routes_show_what_was_written() -> None:
    assert redacted(config_of(TEXT, ENV | {"KEY": KEY}))["routes"] == [
        {"path": "/a", "upstream": "api"},
        {"path": "/b", "upstream": "api", "limits": {"body": "1KiB"}},
    ]


def test_urls_lose_user_and_password() -> None:
    config = config_of(written())
    odd = config.model_copy(update={"login_url": "https://u:hunter2@a.example.com/x@y"})
    assert redacted(odd)["login_url"] == "https://a.example.com/x@y"
