"""Every kind of request that a script can send across origins, against what the standard says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Frame

from tests.e2e.browser import api, hosts
from tests.e2e.browser.cases import (
    AXES,
    BEARER,
    BODY,
    HEADERS,
    PAGES,
    SESSIONS,
    Case,
    matrix,
    pairs,
)
from tests.e2e.browser.conftest import Browser
from tests.e2e.browser.contract import WATCHED, Read, expect
from tests.e2e.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES: Final = matrix()
_ASK: Final = (Path(__file__).parent / "ask.js").read_text(encoding="utf-8")
_TOGETHER: Final = 24
_DEADLINE: Final = 60_000
"""Milliseconds until a request without an answer counts as one that failed otherwise."""


async def test_every_page_meets_every_pair() -> None:
    pairs_of_axes = itertools.combinations(AXES, 2)
    wanted = sum(len(first) * len(second) for first, second in pairs_of_axes)
    for page in PAGES:
        rows = [
            (case.session, case.method, case.headers, case.credentials, case.target)
            for case in CASES
            if case.page == page
        ]
        assert len(set().union(*map(pairs, rows))) == wanted


async def test_the_matrix_has_every_outcome() -> None:
    """An oracle that expects one thing only would agree with a gateway that does one thing only."""
    expected = [expect(case) for case in CASES]
    readable = {each.read.status for each in expected if each.read is not None}
    assert readable == {200, 204, 401, 403, 404, 405, 413, 501, 502}
    answered = {pair[1] for each in expected for pair in each.journal}
    assert answered == readable - {501}
    refused = [each for each in expected if each.read is None]
    assert len(CASES) / 4 < len(refused) < len(CASES) * 3 / 4
    assert {len(each.journal) for each in refused} == {0, 1}
    assert any(each.arrived for each in refused)
    assert any(len(each.journal) == 2 for each in expected)


async def asking_frame(browser: Browser, page: str) -> Frame:
    """Open a page and return the frame whose script asks."""
    opened = await browser.open(PAGES[page].url)
    frame = opened.frames[-1]
    assert await frame.evaluate("self.origin") == PAGES[page].origin
    return frame


async def sign_in(browser: Browser, session: str) -> None:
    if session == "expired":
        await browser.sign_in("None", ttl=-3600)
    elif session != "none":
        await browser.sign_in(session.removeprefix("SameSite="))


def as_request(case: Case) -> dict[str, Any]:
    headers = {
        name: f"Bearer {api.token()}" if value == BEARER else value
        for name, value in HEADERS[case.headers].items()
    }
    return {
        "url": hosts.API + case.path,
        "method": case.method,
        "headers": headers,
        "credentials": case.credentials,
        "body": BODY if case.has_body else None,
    }


def as_read(answer: Mapping[str, Any]) -> Read | str:
    if "error" in answer:
        return str(answer["error"])
    body = answer["body"]
    if body.startswith("{"):
        body = json.loads(body)["code"]
    return Read(answer["status"], body, frozenset(answer["names"]) & WATCHED)


async def observe(browser: Browser, site: Site, cases: Iterable[Case]) -> list[str]:
    """Run the cases, which are of one page and one session; return what is not as expected."""
    chosen = list(cases)
    await sign_in(browser, chosen[0].session)
    frame = await asking_frame(browser, chosen[0].page)
    given = {
        "requests": [as_request(case) for case in chosen],
        "together": _TOGETHER,
        "deadline": _DEADLINE,
    }
    answers = await frame.evaluate(_ASK, given)
    seen = await seen_by_path(site)
    problems = []
    for case, answer in zip(chosen, answers, strict=True):
        expected = expect(case)
        journal, arrived = seen.get(case.path, ([], []))
        wanted = "TypeError" if expected.read is None else expected.read
        found = as_read(answer), tuple(journal), tuple(arrived)
        if found != (wanted, expected.journal, expected.arrived):
            problems.append(f"{case}\n  wanted {expected}\n  found  {found}")
    return problems


async def seen_by_path(site: Site) -> dict[str, tuple[list[tuple[str, int]], list[str]]]:
    """Return what the gateway answered and what reached the API, by path."""
    seen: dict[str, tuple[list[tuple[str, int]], list[str]]] = {}
    for line in await site.journal(""):
        seen.setdefault(line["path"], ([], []))[0].append((line["method"], line["status"]))
    for request in site.upstream.requests:
        seen.setdefault(request.path, ([], []))[1].append(request.method)
    return seen


@pytest.mark.parametrize("page", PAGES)
async def test_browser_and_gateway_do_what_the_standard_says(
    browser: Browser, site: Site, page: str
) -> None:
    problems = []
    for session in SESSIONS:
        chosen = [case for case in CASES if (case.page, case.session) == (page, session)]
        problems += await observe(browser, site, chosen)
        await browser.leave()
    assert not problems, f"{len(problems)} cases:\n" + "\n".join(problems[:20])
    for request in site.upstream.requests:
        if not request.path.startswith("/public/"):
            assert request.values("X-User-Id") == ["u-1"]
            assert api.COOKIE not in "".join(request.values("Cookie"))
