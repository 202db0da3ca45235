"""proxy/worker/state.py: what a worker tells its operators."""

from __future__ import annotations

from tests.support.worker import LocalGateway, settings


async def test_only_a_worker_that_is_ready_is_ready() -> None:
    async with LocalGateway(settings("http://127.0.0.1:1")) as gateway:
        assert gateway.worker.state.ready() == (True, "ready")
    assert gateway.worker.state.ready() == (False, "stopped")
