"""The second round as a whole: what is right passes, and one mistake does not hide another."""

from __future__ import annotations

from tests.config.helpers import places, written


def test_what_makes_sense_passes() -> None:
    assert places(written()) == []


def test_every_kind_of_check_is_run() -> None:
    text = written(
        trusted_proxies="[everybody]",
        sessions="{web: {secret: short}}",
        identity="{headers: {Host: id}}",
        cors="{origins: []}",
        upstreams="{api: {endpoints: [http://x, http://x], tls: {ca: absent.pem}}}",
        routes="[{path: x, upstream: api}, {path: /x, upstream: api}, {path: /x, upstream: api}]",
        tests="[{request: x, expect: 200}]",
    )
    assert set(places(text)) == {
        "trusted_proxies.0",
        "sessions.web.secret",
        "identity.headers.Host",
        "cors",
        "upstreams.api.endpoints.0",
        "upstreams.api.endpoints.1",
        "upstreams.api.tls.ca",
        "routes.0.path",
        "routes.2.path",
        "tests.0.request",
    }
