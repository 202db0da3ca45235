"""The forms of the admin listener's answers."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.admin import answers

ALL = {
    "text": answers.text("a"),
    "data": answers.data({}),
    "raw": answers.raw(b"x", "text/css"),
    "problem": answers.problem(404, "No."),
    "aiohttp's own": web.HTTPNotFound(),
}


@pytest.mark.parametrize("response", ALL.values(), ids=ALL)
async def test_every_answer_is_hardened(response: web.Response) -> None:
    response.headers["Server"] = "a banner"
    await answers.harden(make_mocked_request("GET", "/"), response)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Server" not in response.headers


def test_a_problem_is_rfc_9457() -> None:
    response = answers.problem(405, "Only GET.", {"Allow": "GET"})
    assert response.status == 405
    assert response.content_type == "application/problem+json"
    assert response.headers["Allow"] == "GET"
    assert json.loads(response.text or "") == {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": "Only GET.",
    }


def test_text_ends_its_line() -> None:
    response = answers.text("draining", status=503)
    assert (response.status, response.text) == (503, "draining\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_content_type_keeps_its_parameters() -> None:
    response = answers.raw(b"m", "text/plain; version=1.0.0; escaping=underscores")
    assert response.headers["Content-Type"] == "text/plain; version=1.0.0; escaping=underscores"
