"""proxy/worker/state.py: what a worker tells its operators."""

from __future__ import annotations

from typing import Any

from tests.support.adapters import ADAPTERS
from tests.support.client import RawClient
from tests.support.postgres import Database
from tests.support.upstream import StubUpstream
from tests.support.worker import COOKIE, SECRET, LocalGateway, Settings, request, settings


async def test_only_a_worker_that_is_ready_is_ready() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        assert gateway.worker.state.ready() == (True, "ready")
    assert gateway.worker.state.ready() == (False, "stopped")


async def test_the_status_counts_connections_and_requests() -> None:
    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", "/public/x"))
            await client.read_answers()
            status = gateway.status
            assert status["requests"] == 1
            assert status["requests_in_flight"] == 0
            assert status["connections"] == {"client": 1, "upstream": 1}
            assert gateway.endpoints == [
                {
                    "endpoint": upstream.url,
                    "state": "up",
                    "reason": None,
                    "weight": "1",
                    "requests": 0,
                    "streams": 0,
                    "waiting": 0,
                    "open": 1,
                    "idle": 1,
                }
            ]
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)


async def test_the_status_names_what_is_configured() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1", "http://127.0.0.1:2")) as gateway:
        status = gateway.status
        assert status["generation"] == 1
        assert status["listeners"] == gateway.worker.addresses
        assert [upstream["name"] for upstream in status["upstreams"]] == ["api"]
        assert len(gateway.endpoints) == 2
        assert status["sessions"] == [{"name": "web", "kind": "authjs"}]
        assert len(status["routes"]) == 4
        assert gateway.worker.state.config is gateway.config
        assert status["uptime"] >= 0


async def test_the_metrics_are_those_of_the_worker() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        text, kind = gateway.worker.state.metrics_text()
        assert b"http://127.0.0.1:1" in text
        assert kind.startswith("text/plain")


def stored(url: str, **web: str) -> Settings:
    web_session: dict[str, Any] = {"database": {"url": url}, **web}
    return settings("http://127.0.0.1:1", sessions={"web": web_session})


AWAY = "postgres://app:hunter2@127.0.0.1:1/shop"


async def test_without_its_only_store_a_worker_is_not_ready() -> None:
    async with LocalGateway(stored(AWAY), expect_errors=True) as gateway:
        state = gateway.worker.state
        assert state.ready() == (False, "no session store: web: connection refused")
        [session] = gateway.status["sessions"]
        assert session["database"] == {
            "up": False,
            "problem": "connection refused",
            "tables": None,
            "connections": 0,
            "idle": 0,
            "waiting": 0,
        }
        assert b'gatelodge_session_store_up{session="web"} 0.0' in state.metrics_text()[0]
        answer = await gateway.ask("GET", "/api/x", f"Cookie: {COOKIE}=some-token")
        assert (answer.status, answer.json()["code"]) == (503, "session_store_down")
        assert answer.get("Retry-After") == "1"
        assert "hunter2" not in str(gateway.status)


async def test_with_jwts_beside_it_a_worker_is_ready_without_its_store() -> None:
    config = stored(AWAY, secret=SECRET)
    async with LocalGateway(config, expect_errors=True) as gateway:
        assert gateway.worker.state.ready() == (True, "ready")


async def test_with_its_store_a_worker_is_ready_and_says_where_sessions_are(
    database: Database,
) -> None:
    await database.set_up(ADAPTERS["pg"])
    async with LocalGateway(stored(database.url)) as gateway:
        assert gateway.worker.state.ready() == (True, "ready")
        found = gateway.status["sessions"][0]["database"]
        assert (found["up"], found["connections"]) == (True, 1)
        assert found["tables"].startswith("public.sessions (")
        text = gateway.worker.state.metrics_text()[0]
        assert b'gatelodge_session_store_connections{session="web",state="idle"} 1.0' in text


async def test_limits_and_the_server_that_counts_are_told_of() -> None:
    limits = [{"by": "ip", "rate": "9/h"}, {"by": "user", "rate": "5/h", "shared": False}]
    redis = {"url": "redis://:hunter2@127.0.0.1:1"}
    async with LocalGateway(settings("http://127.0.0.1:1", rate_limit=limits, redis=redis)) as g:
        assert g.worker.state.ready() == (True, "ready")
        await g.ask("GET", "/optional/x")
        status = g.status
        text = g.worker.state.metrics_text()[0]
        assert "hunter2" not in str(status)
    assert status["limit_store"] == {"up": False, "problem": "no connection: Connection refused"}
    assert status["rate_limits"] == [
        {"limit": limit, "shared": shared, "entries": 1, "dropped": 0}
        for limit, shared in (
            ("9/h by ip (burst 9), of all routes", True),
            ("5/h by user (burst 5), of all routes", False),
        )
    ]
    assert b'gatelodge_rate_limit_entries{by="user",rate="5/h",scope="-"} 1.0' in text
    assert b"gatelodge_limit_store_up 0.0" in text


async def test_without_limits_there_are_none_to_tell_of() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        assert gateway.status["rate_limits"] == []
        assert gateway.status["limit_store"] is None
        assert b"gatelodge_limit_store_up" not in gateway.worker.state.metrics_text()[0]
