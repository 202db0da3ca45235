"""proxy/worker/process.py: how a worker starts, drains and stops."""

from __future__ import annotations

from tests.support.worker import LocalGateway, settings


async def test_a_worker_says_where_it_listens() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        assert set(gateway.worker.addresses) == {"main", "admin"}
        assert gateway.status["state"] == "ready"
    assert gateway.status["state"] == "stopped"
