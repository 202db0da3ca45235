"""What is remembered of stored sessions, and how many ask the store for one token."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from proxy.core.session import Credential, Session
from proxy.errors import ProxyError, SessionExpired, SessionInvalid, SessionStoreDown
from proxy.session import memory
from proxy.session.memory import FLIGHTS_MAX, REFUSED_MAX, Memory
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
from tests.support.stores import FakeStore, row


class Desk:
    """A resolver with a fake store behind it."""

    def __init__(self, *rows: Any, cache: str = "{}", more: str = "") -> None:
        text = f"""
sessions:
  web: {{database: {{url: "postgres://a@b/c", columns: [role]}}, cache: {cache}{more}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
"""
        self.store = FakeStore(*rows)
        self.metrics = Metrics()
        stores = {"web": self.store}
        self.resolver = Resolver(config_of(text), rules_of(text), self.metrics, stores)

    async def ask(self, value: str, at: float = 0.0) -> Session:
        credential = Credential("web", "cookie", COOKIE, value)
        return await self.resolver.resolve(credential, NOW + at)

    async def fault(self, value: str, at: float = 0.0) -> ProxyError:
        with pytest.raises(ProxyError) as caught:
            await self.ask(value, at)
        return caught.value

    @property
    def memory(self) -> Memory:
        return self.resolver._memories["web"]

    def held(self) -> int:
        """Return how many sessions are remembered."""
        return len(self.memory._sessions)

    @property
    def cache(self) -> tuple[int, int, int, int]:
        """Hits, misses, hits of refusals, look-ups that were joined."""
        m = self.metrics
        return (
            m.session_cache_hits,
            m.session_cache_misses,
            m.session_cache_refusals,
            m.session_cache_joined,
        )


def good(name: str = "good", lasts: float = 3600, user: str | None = "u-1") -> Any:
    return row(name, NOW + lasts, user, ('"admin"',))


async def test_a_session_is_looked_up_once_and_then_remembered() -> None:
    desk = Desk(good())
    first = await desk.ask("good")
    assert (first.kind, first.expires) == ("database", NOW + 3600)
    who = first.principal
    assert (who.id, who.email, who.name, who.roles) == ("u-1", "ada@example.com", "Ada", ("admin",))
    assert await desk.ask("good", 9.99) is first
    assert await desk.ask("good", 10) is not first
    assert desk.store.asked == ["good", "good"]
    assert desk.cache == (1, 2, 0, 0)


def test_a_hit_never_waits() -> None:
    async def learn() -> Desk:
        desk = Desk(good())
        await desk.ask("good")
        return desk

    desk = asyncio.run(learn())
    assert finish(desk.ask("good")).principal.id == "u-1"


async def test_it_is_never_remembered_beyond_its_end() -> None:
    desk = Desk(good(lasts=5))
    await desk.ask("good")
    await desk.ask("good", 4.9)
    assert desk.store.asked == ["good"]
    # At the very end it is valid still, and looked at again.
    await desk.ask("good", 5)
    assert isinstance(await desk.fault("good", 5.1), SessionExpired)
    assert desk.store.asked == ["good"] * 3


async def test_a_row_that_is_gone_counts_until_ttl_and_no_longer() -> None:
    desk = Desk(good(), cache="{ttl: 2s}")
    await desk.ask("good")
    desk.store.rows.clear()
    await desk.ask("good", 1.9)
    assert isinstance(await desk.fault("good", 2), SessionInvalid)


async def test_a_clock_that_is_set_back_lengthens_nothing() -> None:
    desk = Desk(good(), more=f", secret: {SECRET}", cache="{ttl: 10s}")
    value = token("u-1")
    first = await desk.ask(value)
    await desk.ask("good")
    await desk.fault("nobody")
    assert await desk.ask(value, -0.5) is first
    desk.store.rows.clear()
    assert isinstance(await desk.fault("good", -3600), SessionInvalid)
    assert (await desk.ask(value, -30)) is not first
    desk.store.rows.append(good("nobody"))
    await desk.ask("nobody", -3600)


async def test_while_the_store_is_down_the_known_are_served_and_others_are_503() -> None:
    desk = Desk(good(), good("other"))
    await desk.ask("good")
    desk.store.problem = "connection refused"
    await desk.ask("good", 9)
    down = await desk.fault("other", 9)
    assert isinstance(down, SessionStoreDown)
    assert (down.status, down.retry_after, down.reason) == (503, 1, "connection refused")
    assert isinstance(await desk.fault("good", 10), SessionStoreDown)
    desk.store.problem = ""
    # Nothing of the trouble is remembered.
    await desk.ask("other", 9)
    await desk.ask("good", 10)


async def test_refusals_are_remembered_for_a_second_at_most() -> None:
    desk = Desk()
    first = await desk.fault("nobody")
    assert isinstance(first, SessionInvalid)
    assert first.reason == "the database has no session of this token"
    again = await desk.fault("nobody", 0.99)
    assert again is not first
    assert again.reason == first.reason
    desk.store.rows.append(good("nobody"))
    await desk.ask("nobody", 1)
    assert desk.store.asked == ["nobody", "nobody"]
    assert desk.cache == (0, 2, 1, 0)


async def test_a_shorter_ttl_bounds_refusals_as_well() -> None:
    desk = Desk(cache="{ttl: 100ms}")
    await desk.fault("nobody")
    await desk.fault("nobody", 0.09)
    await desk.fault("nobody", 0.1)
    assert desk.store.asked == ["nobody", "nobody"]


async def test_with_a_ttl_of_0_everything_is_asked_each_time() -> None:
    desk = Desk(good(), cache="{ttl: 0s}")
    for _ in range(3):
        await desk.ask("good")
        await desk.fault("nobody")
    assert desk.store.asked == ["good", "nobody"] * 3


async def test_a_flood_of_made_up_tokens_drives_no_session_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "REFUSED_MAX", 10)
    desk = Desk(good(), cache="{entries: 2}")
    await desk.ask("good")
    for number in range(100):
        await desk.fault(f"nobody-{number}")
    await desk.ask("good")
    assert desk.store.asked.count("good") == 1


def bulky(number: int, kilobytes: float) -> str:
    return token(f"u-{number}", pad="p" * int(kilobytes * 750))


async def test_a_session_with_much_in_it_counts_for_several() -> None:
    """Claims take memory in proportion, so `entries` bounds memory whatever users write there."""
    desk = Desk(cache="{entries: 40}", more=f", secret: {SECRET}")
    for number in range(30):
        await desk.ask(bulky(number, 0))
    assert desk.held() == 30
    for number in range(100):
        await desk.ask(bulky(number, 10))
    assert desk.held() == 3
    for number in range(100):
        await desk.ask(bulky(number, 0))
    assert desk.held() == 40


async def test_a_session_larger_than_the_whole_memory_is_verified_each_time() -> None:
    desk = Desk(good("good"), cache="{entries: 2}", more=f", secret: {SECRET}")
    await desk.ask("good")
    for _ in range(3):
        assert (await desk.ask(bulky(1, 10))).principal.id == "u-1"
    assert (desk.held(), desk.cache) == (1, (0, 4, 0, 0))


async def test_a_row_with_much_in_it_counts_for_several() -> None:
    rows = [row(f"t-{number}", NOW + 9, "u", ('"%s"' % ("p" * 5000),)) for number in range(10)]
    desk = Desk(*rows, cache="{entries: 12}")
    for each in rows:
        await desk.ask(each.token)
    assert desk.held() == 2


async def test_a_flood_of_bad_tokens_takes_bounded_memory() -> None:
    """Of any kind: made up, too long, forged, of another secret. What was good stays good."""
    desk = Desk(good(), cache="{entries: 1000}", more=f", secret: {SECRET}")
    await desk.ask("good")
    kept = token("u-2")
    await desk.ask(kept)
    forged = token("u-3", secret=OTHER_SECRET)
    for number in range(REFUSED_MAX + 10):
        await desk.fault(f"made-up-{number}")
    desk.store.asked.clear()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(8_000):
            await desk.fault(f"another-{number}")
            await desk.fault(f"{forged}{number}")
        desk.store.asked.clear()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Nothing is left of 16,000 but the 4,096 refusals, which took the places of 4,096 others.
    assert grown < REFUSED_MAX * 1024
    hits = desk.cache[0]
    await desk.ask("good")
    await desk.ask(kept)
    assert desk.cache[0] == hits + 2
    assert desk.store.asked == []


async def test_a_refusal_keeps_nothing_of_what_it_was_raised_from() -> None:
    desk = Desk()
    await desk.fault("nobody")
    [(_, (_, _, kept))] = desk.memory._refused.items()
    assert (kept.__traceback__, kept.__context__, kept.__cause__) == (None, None, None)


async def test_made_up_tokens_ask_the_store_once_each_and_never_for_a_known_session() -> None:
    desk = Desk(good())
    await desk.ask("good")
    desk.store.gate.clear()
    flood = [asyncio.create_task(desk.fault(f"t-{number % 500}")) for number in range(5000)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await desk.ask("good", 9)).principal.id == "u-1"
    assert len(desk.store.asked) == 501
    desk.store.gate.set()
    await asyncio.gather(*flood)
    assert len(desk.store.asked) == 501
    assert repr(desk.memory) == "<Memory of web flights=0>"


async def test_so_many_look_ups_are_under_way_and_no_more() -> None:
    desk = Desk(good(), good("later"))
    await desk.ask("good")
    desk.store.gate.clear()
    flood = [asyncio.create_task(desk.fault(f"t-{number}")) for number in range(FLIGHTS_MAX)]
    for _ in range(3):
        await asyncio.sleep(0)
    # Those who asked are gone, and their questions are not.
    for asked in flood[1:]:
        asked.cancel()
    await asyncio.sleep(0)
    for _ in range(3):
        down = await desk.fault("later")
        assert isinstance(down, SessionStoreDown)
        assert (down.status, down.reason) == (503, memory.TOO_MANY)
    await desk.ask("good", 9)
    joined = asyncio.create_task(desk.fault("t-7"))
    await asyncio.sleep(0)
    assert len(desk.store.asked) == FLIGHTS_MAX + 1
    desk.store.gate.set()
    assert isinstance(await joined, SessionInvalid)
    assert (await desk.ask("later")).principal.id == "u-1"
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_thousand_requests_for_one_token_are_one_question() -> None:
    desk = Desk(good())
    desk.store.gate.clear()
    asking = [asyncio.create_task(desk.ask("good")) for _ in range(1000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk.store.gate.set()
    sessions = await asyncio.gather(*asking)
    assert len({id(session) for session in sessions}) == 1
    assert desk.store.asked == ["good"]
    assert desk.cache == (0, 1, 0, 999)


async def test_answers_go_to_those_who_asked_for_that_token() -> None:
    # CVE-2026-71326: a coalesced look-up shared between different tokens.
    rows = [good(f"t-{number}", user=f"u-{number}") for number in range(50)]
    desk = Desk(*rows)
    desk.store.gate.clear()
    names = [f"t-{number % 50}" for number in range(500)]
    asking = [asyncio.create_task(desk.ask(name)) for name in names]
    await asyncio.sleep(0)
    desk.store.gate.set()
    for name, session in zip(names, await asyncio.gather(*asking), strict=True):
        assert session.principal.id == f"u{name[1:]}"


async def test_everybody_who_waits_learns_that_the_store_is_down() -> None:
    desk = Desk(good())
    desk.store.gate.clear()
    asking = [asyncio.create_task(desk.ask("good")) for _ in range(100)]
    await asyncio.sleep(0)
    desk.store.problem = "gone"
    desk.store.gate.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(error) for error in errors} == {SessionStoreDown}
    assert len({id(error) for error in errors}) == 100
    assert desk.store.asked == ["good"]


async def test_who_goes_away_ends_the_question_for_nobody() -> None:
    desk = Desk(good())
    desk.store.gate.clear()
    first = asyncio.create_task(desk.ask("good"))
    others = [asyncio.create_task(desk.ask("good")) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    desk.store.gate.set()
    assert {(await other).principal.id for other in others} == {"u-1"}
    assert desk.store.asked == ["good"]


async def test_an_answer_that_nobody_waits_for_is_remembered() -> None:
    desk = Desk(good())
    desk.store.gate.clear()
    only = asyncio.create_task(desk.ask("good"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    only.cancel()
    desk.store.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    await desk.ask("good")
    assert desk.store.asked == ["good"]
    assert desk.cache == (1, 1, 0, 0)


@pytest.mark.parametrize("value", ["", "a\0", "a b", "x" * 256, "%", "a.b.c\ud800"])
async def test_hostile_tokens_are_refused_without_a_question(value: str) -> None:
    desk = Desk()
    credential = Credential("web", "bearer", "", "plain")
    object.__setattr__(credential, "token", value)
    with pytest.raises(SessionInvalid):
        await desk.resolver.resolve(credential, NOW)
    assert desk.store.asked == []
    assert desk.cache == (0, 0, 0, 0)


async def test_beside_a_secret_jwts_are_verified_and_others_looked_up() -> None:
    desk = Desk(good(), good("a.b"), more=f", secret: {SECRET}")
    assert (await desk.ask(token("u-9"))).principal.id == "u-9"
    assert desk.store.asked == []
    assert (await desk.ask("good")).kind == "database"
    assert (await desk.ask("a.b")).kind == "database"
    assert isinstance(await desk.fault("a.b.c"), SessionInvalid)
    assert desk.store.asked == ["good", "a.b"]


async def test_without_a_secret_every_token_is_a_key_of_the_database() -> None:
    desk = Desk(good("a.b.c"))
    assert (await desk.ask("a.b.c")).principal.id == "u-1"
    jwt = await desk.fault(token())
    assert jwt.reason.endswith("it looks like a JWT, and the session has no secret")
    assert desk.store.asked == ["a.b.c"]


async def test_a_user_without_an_id_is_nobody() -> None:
    desk = Desk(good(), more=", principal: {id: org}")
    assert (await desk.fault("good")).reason == "the claims hold no id of a user that can be used"


async def test_without_its_store_a_session_cannot_be_looked_up() -> None:
    desk = Desk()
    rules = rules_of(
        """
sessions: {web: {database: {url: "postgres://a@b/c"}}}
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /**, upstream: api}]
"""
    )
    desk.resolver = Resolver(
        config_of(
            'sessions: {web: {database: {url: "postgres://a@b/c"}}}\n'
            "upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}\n"
            "routes: [{path: /**, upstream: api}]\n"
        ),
        rules,
        desk.metrics,
    )
    down = await desk.fault("good")
    assert isinstance(down, SessionStoreDown)
    assert down.reason == "the database is not asked here"


async def test_look_ups_are_timed() -> None:
    desk = Desk(good())
    await desk.ask("good")
    await desk.ask("good")
    await desk.fault("nobody")
    assert sum(desk.metrics.session_store_seconds.counts) == 2


def test_it_shows_nothing_of_its_sessions() -> None:
    desk = Desk()
    [shown] = [repr(each) for each in desk.resolver._memories.values()]
    assert shown == "<Memory of web flights=0>"
