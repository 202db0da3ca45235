"""The tests that a configuration carries for itself, judged by the gateway's own `decide`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cli.request import Request, Url, cookie_header, parse_header
from proxy.cli.trial import Trial, attempt
from proxy.core.decision import Permit, Reply
from proxy.core.identity import Principal
from proxy.core.session import Session

if TYPE_CHECKING:
    from proxy.config.model import AsUser, Config, Expect, TestCase
    from proxy.core.decision import Resolve
    from proxy.core.rules import Rules
    from proxy.core.session import Credential

_TOKEN = "whatever-it-is-the-test-says-who-it-belongs-to"


async def run_case(
    config: Config, rules: Rules, resolve: Resolve, case: TestCase, now: float
) -> str | None:
    """Return how the test fails, or None. `resolve` judges what the test's own cookies hold."""
    if case.as_ is not None:
        resolve = _knows(case.as_)
    try:
        request = _request(rules, case)
    except ValueError as error:
        return f"{_name(case)}: cannot be sent: {error}"
    trial = await attempt(rules, request.head(config), resolve, now)
    if _holds(case.expect, trial):
        return None
    return f"{_name(case)}: expected {_wanted(case.expect)}, got {_got(trial)}"


def _knows(user: AsUser) -> Resolve:
    """Return a resolver to which every credential is the user's."""
    principal = Principal(user.id, user.email, user.name, user.roles, user.claims)

    async def resolve(_credential: Credential, _now: float) -> Session:
        return Session(principal, "test", None)

    return resolve


def _request(rules: Rules, case: TestCase) -> Request:
    """Return the test's request; where somebody is signed in, every session's cookie is there.

    Of a session's names the first is taken, which counts over http and over https. Raises
    ValueError for a header that no HTTP parser lets through.
    """
    cookies = dict(case.cookies)
    if case.as_ is not None:
        for rule in rules.sessions.values():
            if not any(name in cookies for name in rule.cookie_names):
                cookies[rule.cookie_names[0]] = _TOKEN
    headers = [*case.headers.items(), *([cookie_header(cookies)] if cookies else [])]
    sent = [parse_header(f"{name}: {value}") for name, value in headers]
    return Request(case.method, Url.parse(case.target), sent)


def _holds(expect: Expect, trial: Trial) -> bool:
    """Whether all that is expected came true."""
    route = trial.x.route
    upstream = trial.outcome.route.upstream if isinstance(trial.outcome, Permit) else None
    return (
        expect.status in (None, trial.status)
        and expect.route in (None, None if route is None else route.path)
        and expect.upstream in (None, upstream)
    )


def _name(case: TestCase) -> str:
    user = case.as_
    if user is None:
        return f"{case.method} {case.target}"
    roles = f" with roles {', '.join(user.roles)}" if user.roles else ""
    return f"{case.method} {case.target} as {user.id}{roles}"


def _wanted(expect: Expect) -> str:
    forwarded = "200 (forwarded)" if expect.status == 200 else expect.status
    wanted = {"": forwarded, "route ": expect.route, "upstream ": expect.upstream}
    return ", ".join(f"{kind}{value}" for kind, value in wanted.items() if value is not None)


def _got(trial: Trial) -> str:
    outcome, route = trial.outcome, trial.x.route
    by = "" if route is None else f" by route {route.name}"
    if isinstance(outcome, Permit):
        return f"200 (forwarded to upstream {outcome.route.upstream}){by}"
    if isinstance(outcome, Reply):
        return f"{outcome.status}{by}"
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.status} {outcome.code}{by}{reason}"
