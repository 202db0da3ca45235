"""proxy/worker/state.py: what a worker tells its operators."""

from __future__ import annotations

from tests.support.client import RawClient
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings


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
            assert gateway.endpoints == [{"endpoint": upstream.url, "open": 1, "idle": 1}]
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
