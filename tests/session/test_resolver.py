from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.authjs import AuthjsVerifier
from proxy.core.identity import Verified
from proxy.core.session import Credential, Session
from proxy.errors import SessionExpired, SessionInvalid
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from tests.support.exchanges import (
    COOKIE,
    NOW,
    OTHER_SECRET,
    SECRET,
    config_of,
    finish,
    rules_of,
    token,
)

SECURE = f"__Secure-{COOKIE}"
HOUR = 3600


class Desk:
    """A resolver for one configuration, and what it told the metrics."""

    def __init__(self, cache: str = "{}", **web: Any) -> None:
        settings = "".join(f", {name}: {value}" for name, value in web.items())
        text = f"""
sessions:
  web: {{secret: {SECRET}, cache: {cache}{settings}}}
  twin: {{secret: {SECRET}, cache: {cache}, principal: {{id: email}}}}
  tenant: {{secret: {OTHER_SECRET}, cookie: tenant, bearer: true, cache: {cache}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
"""
        self._metrics = Metrics()
        self._resolver = Resolver(config_of(text), rules_of(text), self._metrics)

    def ask(
        self, value: str, at: float = 0.0, *, session: str = "web", name: str = COOKIE
    ) -> Session:
        """Resolve a token that came in the cookie `name`, `at` seconds after NOW."""
        source: Any = "cookie" if name else "bearer"
        credential = Credential(session, source, name, value)
        return finish(self._resolver.resolve(credential, NOW + at))

    @property
    def looks(self) -> tuple[int, int]:
        """How many look-ups were hits and misses."""
        return self._metrics.session_cache_hits, self._metrics.session_cache_misses


def test_a_session_is_verified_once_and_then_remembered() -> None:
    desk, value = Desk(), token("u-7", role="admin")
    first = desk.ask(value)
    assert (first.principal.id, first.principal.roles) == ("u-7", ("admin",))
    assert first.expires == NOW + HOUR
    assert desk.ask(value, 1) is first
    assert desk.ask(value, 9.99) is first
    assert desk.looks == (2, 1)


def test_it_is_remembered_for_ttl_and_no_longer() -> None:
    desk, value = Desk("{ttl: 30s}"), token()
    first = desk.ask(value)
    assert desk.ask(value, 29.9) is first
    again = desk.ask(value, 30)
    assert again is not first
    # The time counts from the look-up, not from the last use.
    assert desk.ask(value, 59.9) is again
    assert desk.ask(value, 60) is not again
    assert desk.looks == (2, 3)


def test_it_is_never_remembered_beyond_its_end() -> None:
    desk, value = Desk("{ttl: 1h}"), token(exp=int(NOW) + 5)
    first = desk.ask(value)
    assert desk.ask(value, 4.9) is first
    # Within the tolerance it is valid, and looked at each time.
    tolerated = desk.ask(value, 5)
    assert tolerated is not first
    assert desk.ask(value, 19.9) is not tolerated
    with pytest.raises(SessionExpired):
        desk.ask(value, 20)
    assert desk.looks == (1, 4)


def test_max_age_ends_it_too() -> None:
    desk, value = Desk("{ttl: 1h}", max_age="2m"), token()  # issued a minute ago
    first = desk.ask(value)
    assert first.expires == NOW + 60
    assert desk.ask(value, 59) is first
    assert desk.ask(value, 60) is not first
    with pytest.raises(SessionExpired):
        desk.ask(value, 76)


def test_a_ttl_of_0_remembers_nothing() -> None:
    desk, value = Desk("{ttl: 0s}"), token()
    assert desk.ask(value) is not desk.ask(value)
    assert desk.looks == (0, 0)
    with pytest.raises(SessionExpired):
        desk.ask(value, 2 * HOUR)


def test_the_least_used_makes_room() -> None:
    desk = Desk("{entries: 2, ttl: 1h}")
    one, two, three = token("u-1"), token("u-2"), token("u-3")
    kept = desk.ask(one)
    desk.ask(two)
    assert desk.ask(one) is kept
    desk.ask(three)
    assert desk.ask(one) is kept
    before = desk.looks
    desk.ask(two)
    assert desk.looks == (before[0], before[1] + 1)


class Endless(AuthjsVerifier):
    """Verifies everything, for ever."""

    def verify(self, token: str, cookie_name: str, now: float) -> Verified:  # noqa: ARG002
        return Verified({"sub": token}, "endless", None)


def test_a_session_without_an_end_is_remembered_for_ttl() -> None:
    text = f"""
sessions: {{web: {{secret: {SECRET}, cache: {{ttl: 5s}}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
"""
    rules = rules_of(text)
    endless = replace(rules.sessions["web"], verifier=Endless([SECRET], [COOKIE]))
    metrics = Metrics()
    resolver = Resolver(config_of(text), replace(rules, sessions={"web": endless}), metrics)
    credential = Credential("web", "cookie", COOKIE, "u-1")
    first = finish(resolver.resolve(credential, NOW))
    assert finish(resolver.resolve(credential, NOW + 4.9)) is first
    assert finish(resolver.resolve(credential, NOW + 5)) is not first


def test_each_session_has_a_memory_of_its_own() -> None:
    """What one secret accepts another must not (CVE-2026-33496)."""
    desk = Desk("{ttl: 1h}")
    value = token("u-1", secret=SECRET, email="a@example.test")
    found = desk.ask(value)
    with pytest.raises(SessionInvalid):
        desk.ask(value, session="tenant", name="tenant")
    # The same secret and another reading of the claims: another user.
    assert desk.ask(value, session="twin").principal.id == "a@example.test"
    assert desk.ask(value) is found
    assert found.principal.id == "u-1"


def test_a_full_memory_of_one_session_pushes_nobody_out_of_another() -> None:
    desk = Desk("{entries: 1, ttl: 1h}")
    found = desk.ask(token("u-1"), session="web")
    value = token("u-1")
    kept = desk.ask(value, session="web")
    assert kept is not found
    desk.ask(token("u-2", email="b@example.test"), session="twin")
    assert desk.ask(value, session="web") is kept


def test_the_name_of_the_cookie_is_part_of_what_is_remembered() -> None:
    """It is the salt of the key: under another name the same token is no session."""
    desk, value = Desk("{ttl: 1h}"), token(cookie=COOKIE)
    assert desk.ask(value, name=COOKIE).principal.id == "u-1"
    with pytest.raises(SessionInvalid):
        desk.ask(value, name=SECURE)
    secure = token("u-2", cookie=SECURE)
    assert desk.ask(secure, name=SECURE).principal.id == "u-2"
    with pytest.raises(SessionInvalid):
        desk.ask(secure, name=COOKIE)


def test_a_bearer_is_remembered_beside_the_cookie() -> None:
    desk, value = Desk(), token(secret=OTHER_SECRET, cookie="tenant")
    first = desk.ask(value, session="tenant", name="")
    assert desk.ask(value, session="tenant", name="") is first
    assert desk.ask(value, session="tenant", name="tenant") is not first


def test_a_bad_token_is_looked_at_each_time() -> None:
    desk = Desk("{ttl: 1h}")
    early = token(nbf=int(NOW) + 100)
    for value in (early, token(secret=OTHER_SECRET), "a.b.c.d.e", ""):
        for _ in range(2):
            with pytest.raises(SessionInvalid):
                desk.ask(value)
    with pytest.raises(SessionExpired):
        desk.ask(token(exp=int(NOW) - 60))
    assert desk.looks == (0, 9)
    assert desk.ask(early, 90).principal.id == "u-1"


def test_a_token_without_a_user_is_no_session() -> None:
    """ID-27 to ID-32."""
    desk = Desk()
    for _ in range(2):
        with pytest.raises(SessionInvalid):
            desk.ask(token(sub=""))
    with pytest.raises(SessionInvalid):
        desk.ask(token("u-1"), session="twin")


def test_tokens_that_differ_are_not_confused() -> None:
    desk = Desk("{ttl: 1h}")
    users = [f"u-{number}" for number in range(20)]
    values = {user: token(user) for user in users}
    for _ in range(2):
        assert [desk.ask(values[user]).principal.id for user in users] == users
    assert desk.looks == (20, 20)
