"""A request judged by the gateway's own rules."""

from __future__ import annotations

import pytest

from proxy.cli.request import Request, Url
from proxy.cli.trial import Trial, attempt
from proxy.core.decision import Permit, Reply
from proxy.core.identity import Principal
from proxy.core.rules import compile_rules
from proxy.core.session import Credential, Session
from proxy.errors import NoRoute, ProxyError, SessionExpired, SessionMissing
from tests.cli.example import AT, loaded

SESSION = Session(Principal("u-1"), "fake", None)


async def tried(
    url: str, *headers: tuple[str, str], method: str = "GET", answer: Session | ProxyError = SESSION
) -> Trial:
    async def resolve(_credential: Credential, now: float) -> Session:
        assert now == AT
        if isinstance(answer, ProxyError):
            raise answer
        return answer

    config = loaded().config
    head = Request(method, Url.parse(url), headers).head(config)
    return await attempt(compile_rules(config), head, resolve, AT)


COOKIE = ("Cookie", "__Secure-authjs.session-token=x")


async def test_a_permitted_request() -> None:
    trial = await tried("/x", COOKIE)
    assert isinstance(trial.outcome, Permit)
    assert trial.finding is SESSION
    assert trial.status == 200
    assert trial.x.route is trial.outcome.route


async def test_a_refusal_before_the_session_has_no_finding() -> None:
    trial = await tried("/x")
    assert isinstance(trial.outcome, SessionMissing)
    assert (trial.finding, trial.status) == (None, 401)


async def test_a_refused_credential_is_the_finding() -> None:
    trial = await tried("/x", COOKIE, answer=SessionExpired("long ago"))
    assert isinstance(trial.outcome, SessionExpired)
    assert trial.outcome is trial.finding
    assert (trial.status, trial.outcome.reason) == (401, "long ago")


async def test_where_a_session_is_optional_the_finding_is_still_told() -> None:
    trial = await tried("/maybe/x", COOKIE, answer=SessionExpired("long ago"))
    assert isinstance(trial.outcome, Permit)
    assert isinstance(trial.finding, SessionExpired)


async def test_an_answer_of_our_own() -> None:
    asks = ("Access-Control-Request-Method", "PUT")
    trial = await tried("/x", ("Origin", "https://app.example.com"), asks, method="OPTIONS")
    assert isinstance(trial.outcome, Reply)
    assert trial.status == 204


@pytest.mark.parametrize("url", ["/a/../b", "http://any.files.example.com/files/x"])
async def test_request_ids_are_of_the_usual_form(url: str) -> None:
    trial = await tried(url)
    assert len(trial.x.request_id) == 32
    assert len(trial.x.seed) == 48


async def test_a_request_without_a_route() -> None:
    config = loaded().config
    rules = compile_rules(config.model_copy(update={"routes": config.routes[:1]}))

    async def resolve(_credential: Credential, _now: float) -> Session:
        raise AssertionError

    head = Request("GET", Url.parse("/x")).head(config)
    trial = await attempt(rules, head, resolve, AT)
    assert isinstance(trial.outcome, NoRoute)
    assert trial.x.route is None
