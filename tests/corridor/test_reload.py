"""A reload: requests keep the generation that they began with, and nothing that is good is lost."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from tests.corridor.test_websocket import HANDSHAKE, SWITCHED, frame
from tests.support.adapters import ADAPTERS
from tests.support.client import RawClient
from tests.support.postgres import Database
from tests.support.scripts import Held
from tests.support.upstream import Exchange, StubUpstream
from tests.support.valkey import Valkey
from tests.support.worker import (
    COOKIE,
    ORIGIN,
    OTHER_SECRET,
    SECRET,
    LocalGateway,
    Settings,
    request,
    settings,
    signed_in,
)

BOTH_LOOPS = True


def sessions(**web: Any) -> dict[str, Any]:
    return {"web": {"kind": "authjs", "secret": SECRET, "bearer": True, **web}}


def with_identity(url: str, header: str, **more: Any) -> Settings:
    return settings(url, identity={"headers": {header: "id"}}, **more)


async def test_the_next_request_of_a_connection_is_judged_by_the_new_rules() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        async with RawClient(gateway.port) as client:
            lines = request("GET", "/public/x")
            for _ in range(3):
                await client.send(lines)
            await client.read_answers(3)
            config = settings(upstream.url)
            config["routes"] = [{"path": "/**", "upstream": "api"}]
            assert (await gateway.reload(config)).problems == ()
            await client.send(lines)
            answers = await client.read_answers(4)
        assert [answer.status for answer in answers] == [200, 200, 200, 401]
        assert gateway.status["generation"] == 2
        assert gateway.status["last_reload"]["in_use"] is True


async def test_a_changed_secret_ends_sessions_at_once_in_the_lane_too() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        async with RawClient(gateway.port) as client:
            known = request("GET", "/api/x", signed_in())
            for _ in range(4):
                await client.send(known)
            await client.read_answers(4)
            await gateway.reload(settings(upstream.url, sessions=sessions(secret=OTHER_SECRET)))
            await client.send(known)
            *before, after = await client.read_answers(5)
        assert {answer.status for answer in before} == {200}
        assert (after.status, after.json()["code"]) == (401, "session_invalid")


async def test_a_session_that_is_configured_as_it_was_is_not_verified_again() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        lines = signed_in("u-1")
        await gateway.ask("GET", "/api/x", lines)
        await gateway.reload(settings(upstream.url, login_url="https://app.example.com/login"))
        await gateway.ask("GET", "/api/y", lines)
        assert gateway.worker.metrics.session_cache_misses == 1
        await gateway.reload(settings(upstream.url, sessions=sessions(cache={"ttl": "20s"})))
        await gateway.ask("GET", "/api/y", lines)
        assert gateway.worker.metrics.session_cache_misses == 2


async def test_a_request_in_flight_ends_by_the_rules_that_it_began_with() -> None:
    held = Held()
    async with StubUpstream() as upstream:
        upstream.script("/api/held", held)
        async with LocalGateway(with_identity(upstream.url, "X-Old-Id")) as gateway:
            # Its answer carries the identity header of both generations: only its own is removed.
            asked = asyncio.ensure_future(gateway.ask("GET", "/api/held", signed_in("u-1")))
            await upstream.wait(lambda: len(upstream.requests) == 1)
            config = with_identity(upstream.url, "X-New-Id", cors={"origins": [ORIGIN]})
            assert (await gateway.reload(config)).problems == ()
            await gateway.ask("GET", "/api/x", signed_in("u-1"))
            held.go.set()
            assert (await asked).status == 200
        old, new = upstream.requests
        assert (old.get("X-Old-Id"), old.get("X-New-Id")) == ("u-1", None)
        assert (new.get("X-Old-Id"), new.get("X-New-Id")) == (None, "u-1")


async def test_an_upload_in_flight_goes_on() -> None:
    body = bytes(1 << 20)
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        head = request("POST", "/public/x", f"Content-Length: {len(body)}")
        async with RawClient(gateway.port) as client:
            await client.send(head + body[: 1 << 19])
            await upstream.wait(lambda: bool(upstream.requests))
            config = settings(upstream.url, limits={"body": "1KiB"})
            assert (await gateway.reload(config)).problems == ()
            await client.send(body[1 << 19 :])
            [answer] = await client.read_answers()
        assert answer.status == 200
        assert upstream.requests[0].size == len(body)


async def test_a_websocket_keeps_its_upstream(  # the endpoint is not even configured any more
) -> None:
    async def echo_frames(exchange: Exchange) -> None:
        await exchange.send(SWITCHED)
        while data := await exchange.read():
            await exchange.send(data.replace(b"\x82\x82\0\0\0\0", b"\x82\x02"))

    async with StubUpstream() as first, StubUpstream() as second:
        first.script("/api/socket", echo_frames)
        async with LocalGateway(settings(first.url)) as gateway, RawClient(gateway.port) as client:
            await client.send(request("GET", "/api/socket", signed_in(), *HANDSHAKE))
            await client.wait(lambda: client.received.endswith(b"\r\n\r\n"))
            assert (await gateway.reload(settings(second.url))).problems == ()
            await client.send(frame(b"hi", masked=True))
            await client.wait(lambda: client.received.endswith(frame(b"hi")))
            answer = await gateway.ask("GET", "/public/x")
            assert (answer.status, len(second.requests)) == (200, 1)


async def test_a_bad_configuration_changes_nothing_and_shows_everywhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        StubUpstream() as upstream,
        LocalGateway(settings(upstream.url), expect_errors=True) as gateway,
    ):
        before = gateway.worker.config
        bad = settings(upstream.url, login_url="not a URL")
        bad["routes"].append({"path": "/api/x", "upstream": "nowhere"})
        outcome = await gateway.reload(bad)
        assert len(outcome.problems) >= 2
        assert all(problem.startswith("test.yaml:") for problem in outcome.problems)
        assert [getattr(record, "problem", None) for record in caplog.records].count(
            outcome.problems[0]
        ) == 1
        assert gateway.worker.config is before
        assert gateway.status["generation"] == 1
        assert gateway.status["last_reload"]["problems"] == list(outcome.problems)
        ready, told = gateway.worker.state.ready()
        assert ready
        assert "older than its file" in told
        text = gateway.worker.state.metrics_text()[0]
        assert b"gatelodge_config_last_reload_successful 0.0" in text
        assert (await gateway.ask("GET", "/public/x")).status == 200
        await gateway.reload(settings(upstream.url))
        assert gateway.worker.state.ready() == (True, "ready")


async def test_the_new_limits_hold_on_connections_that_are_open() -> None:
    long = request("GET", "/public/" + "x" * 2000)
    async with (
        StubUpstream() as upstream,
        LocalGateway(settings(upstream.url)) as gateway,
        RawClient(gateway.port) as client,
    ):
        await client.send(long)
        await client.read_answers()
        config = settings(upstream.url, limits={"target": "1KiB"})
        assert (await gateway.reload(config)).problems == ()
        await client.send(long)
        [before, after] = await client.read_answers(2)
        assert (before.status, after.status) == (200, 414)


async def test_the_access_log_goes_and_comes() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        for number, access in enumerate([False, True]):
            config = settings(upstream.url, log={"format": "json", "access": access})
            assert (await gateway.reload(config)).problems == ()
            await gateway.ask("GET", f"/public/{number}")
        await gateway.logged(lambda line: line["path"] == "/public/1")
        assert len(gateway.log_lines()) == 1


def stored(url: str, database: Database, *, web: Settings | None = None, **keys: Any) -> Settings:
    """Return a configuration with sessions in `database`, which is told of by more `keys`."""
    session = {"database": {"url": database.url, **keys}, **(web or {})}
    return settings(url, sessions={"web": session})


async def pids(database: Database) -> set[int]:
    """Return the server processes that gateways are connected to."""
    found = await database.value(
        "select array_agg(pid) from pg_stat_activity where application_name = 'gatelodge'"
        " and datname = current_database()"
    )
    return set(found or ())


async def gone(database: Database, before: set[int]) -> None:
    """Wait until these connections have ended; the server takes note a moment later."""
    async with asyncio.timeout(10):
        while await pids(database) & before:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_the_database_connections_of_an_unchanged_session_stay(database: Database) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with StubUpstream() as upstream:
        config = stored(upstream.url, database)
        async with LocalGateway(config) as gateway:
            before = await pids(database)
            assert len(before) == 1
            for _ in range(3):
                config["login_url"] = f"https://app.example.com/{gateway.status['generation']}"
                assert (await gateway.reload(config)).problems == ()
            assert await pids(database) == before
            # The rule has changed, the database has not.
            changed = stored(upstream.url, database, web={"cache": {"ttl": "1s"}})
            assert (await gateway.reload(changed)).problems == ()
            assert await pids(database) == before


async def test_a_changed_database_is_connected_to_before_the_old_one_is_left(
    database: Database,
) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with LocalGateway(stored("http://127.0.0.1:1", database)) as gateway:
        before = await pids(database)
        changed = stored("http://127.0.0.1:1", database, connections=3)
        assert (await gateway.reload(changed)).problems == ()
        assert await pids(database) - before
        await gateway.until(lambda: not gateway.worker._generations._endings)
        answer = await gateway.ask("GET", "/api/x", f"Cookie: {COOKIE}=some-token")
        assert answer.status == 401
        await gone(database, before)


async def test_a_database_that_does_not_fit_is_a_problem_and_the_old_one_goes_on(
    database: Database,
) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with StubUpstream() as upstream:
        config = stored(upstream.url, database)
        async with LocalGateway(config, expect_errors=True) as gateway:
            before = await pids(database)
            tables = {
                "sessions": {"table": "none", "token": "t", "user": "u", "expires": "e"},
                "users": {"table": "nobody", "id": "id"},
            }
            bad = stored(upstream.url, database, tables=tables)
            [problem] = (await gateway.reload(bad)).problems
            assert problem.startswith("sessions.web.database: ")
            assert await pids(database) == before
            answer = await gateway.ask("GET", "/api/x", f"Cookie: {COOKIE}=some-token")
            assert answer.status == 401


async def test_generations_that_nobody_needs_any_more_are_forgotten() -> None:
    async with (
        StubUpstream() as upstream,
        LocalGateway(settings(upstream.url)) as gateway,
        RawClient(gateway.port) as client,
    ):
        tables = []
        for number in range(20):
            tables.append(weakref.ref(gateway.worker._gateway.snapshot.rules.routes))
            for _ in range(3):
                await client.send(request("GET", "/api/x", signed_in()))
            await client.read_answers(3 * (number + 1))
            config = settings(upstream.url, public_origin=f"https://a{number}.example.com")
            assert (await gateway.reload(config)).problems == ()
        gc.collect()
        # The thread that built the last generation may still hold the one before.
        assert [number for number, table in enumerate(tables[:-1]) if table() is not None] == []


async def test_requests_go_on_through_many_reloads() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        lines = [
            request("GET", "/api/x", signed_in("u-1", exp=4_000_000_000)),
            request("POST", "/public/y", body=b"{}"),
            request("GET", "/public/z"),
        ]
        done = asyncio.Event()

        async def ask() -> int:
            asked = 0
            async with RawClient(gateway.port) as client:
                while not done.is_set():
                    await client.send(lines[asked % len(lines)])
                    asked += 1
                    answers = await client.read_answers(asked)
                    assert answers[-1].status == 200, answers[-1]
            return asked

        clients = [asyncio.ensure_future(ask()) for _ in range(4)]
        for number in range(25):
            config = settings(upstream.url)
            config["routes"].append({"path": f"/more-{number}", "upstream": "api"})
            assert (await gateway.reload(config)).problems == ()
        done.set()
        assert all(await asyncio.gather(*clients))
        assert gateway.status["generation"] == 26
        assert upstream.violations == []


async def test_a_limit_that_stays_goes_on_counting_and_one_that_changes_begins_anew() -> None:
    async with StubUpstream() as upstream:

        def limited(rate: str, **more: Any) -> Settings:
            return settings(upstream.url, rate_limit={"by": "ip", "rate": rate}, **more)

        async with (
            LocalGateway(limited("5/h"), expect_errors=True) as gateway,
            RawClient(gateway.port) as client,
        ):
            known = request("GET", "/public/x")
            found: list[int] = []

            async def ask(times: int) -> list[int]:
                for _ in range(times):
                    await client.send(known)
                    found.append((await client.read_answers(len(found) + 1))[-1].status)
                return found[-times:]

            assert await ask(3) == [200] * 3
            await gateway.reload(limited("5/h", login_url="https://app.example.com/login"))
            assert await ask(3) == [200, 200, 429]
            assert (await gateway.reload(limited("5/x"))).problems != ()
            assert await ask(1) == [429]
            await gateway.reload(limited("6/h"))
            assert await ask(7) == [200] * 6 + [429]
            await gateway.reload(settings(upstream.url))
            assert await ask(2) == [200] * 2
            await gateway.reload(limited("6/h"))
            assert await ask(1) == [200]


async def test_a_request_that_waits_for_redis_is_counted_though_the_server_changes(
    valkey: Valkey,
) -> None:
    async with StubUpstream() as upstream:

        def shared(database: int) -> Settings:
            redis = {"url": f"{valkey.url}/{database}", "timeout": "30s", "on_failure": "deny"}
            limits = [{"by": "ip", "rate": "50/h"}, {"by": "user", "rate": "50/h"}]
            return settings(upstream.url, rate_limit=limits, redis=redis)

        async with LocalGateway(shared(0)) as gateway:
            async with valkey.client() as client:
                await client.execute_command("CLIENT PAUSE", 60_000, "WRITE")
                asked = [
                    asyncio.ensure_future(gateway.ask("GET", "/api/x", signed_in()))
                    for _ in range(10)
                ]
                await gateway.until(lambda: gateway.worker.metrics.in_flight == 10)
                assert (await gateway.reload(shared(1))).problems == ()
                await client.execute_command("CLIENT UNPAUSE")
            assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 10
            # Paused, it was away for whoever began to use it.
            await gateway.until(lambda: bool(gateway.status["limit_store"]["up"]))
            assert (await gateway.ask("GET", "/api/x", signed_in())).status == 200
            async with valkey.client(db=1) as client:
                assert len(await client.keys()) == 2
            held = gateway.status["limit_store"]
        assert held == {"up": True, "problem": None}
