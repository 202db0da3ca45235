"""Origins, methods and URLs, wherever they may be written."""

from __future__ import annotations

import pytest

from tests.config.helpers import told, written

GOOD = "origins: ['https://a.example.com']"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"cors": f"{{{GOOD}}}"}, []),
        ({"cors": "off"}, []),
        (
            {"cors": "{max_age: 1m}"},
            ["cors: origins are missing here; name those that may call, or write cors: off"],
        ),
        (
            {"cors": "{origins: []}"},
            ["cors: origins are missing here; name those that may call, or write cors: off"],
        ),
        (
            {"cors": "{origins: ['https://a.example.com/']}"},
            ["cors.origins.0: an origin ends after the host and port: take the / off"],
        ),
        (
            {"cors": f"{{{GOOD}, methods: [GETS]}}"},
            [
                "cors.methods.0: 'GETS' is not a method that is forwarded, did you mean 'GET'?",
            ],
        ),
        (
            {"cors": f"{{{GOOD}, headers: ['*']}}"},
            [
                "cors.headers.0: * means nothing to a browser that sends credentials; "
                "write headers: any"
            ],
        ),
        (
            {"cors": f"{{{GOOD}, expose: ['*']}}"},
            [
                "cors.expose.0: * means nothing to a browser that sends credentials; "
                "name the headers"
            ],
        ),
        ({"csrf": "{origins: ['https://*.com']}"}, ["csrf.origins.0: anybody may register"]),
        ({"public_origin": "https://a.example.com"}, []),
        ({"public_origin": "'null'"}, ["public_origin: must be scheme"]),
        ({"login_url": "https://a.example.com/in"}, []),
        ({"login_url": "/in"}, ["login_url: must be an absolute URL"]),
    ],
)
def test_the_top_level_is_checked(sections: dict[str, str], expected: list[str]) -> None:
    found = told(written(**sections))
    assert len(found) == len(expected)
    for message, start in zip(found, expected, strict=True):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("more", "top", "expected"),
    [
        ("cors: {max_age: 1m}", f"{{{GOOD}}}", []),
        ("cors: {max_age: 1m}", "off", ["routes.0.cors: origins are missing here"]),
        (f"cors: {{{GOOD}}}", "off", []),
        ("cors: off", "off", []),
        ("cors: {origins: ['*']}", "off", ["routes.0.cors.origins.0: * is refused"]),
        ("csrf: {origins: [x]}", "off", ["routes.0.csrf.origins.0: must be scheme"]),
        ("login_url: off", "off", []),
        ("login_url: here", "off", ["routes.0.login_url: must be an absolute URL"]),
    ],
)
def test_routes_are_held_to_the_same(more: str, top: str, expected: list[str]) -> None:
    found = told(written(cors=top, routes=f"[{{path: /x, upstream: api, {more}}}]"))
    assert len(found) == len(expected)
    for message, start in zip(found, expected, strict=True):
        assert message.startswith(start)
