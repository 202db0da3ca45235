"""proxy/worker/serve.py: the process and its signals, with real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.gateway import GatewayProcess
from tests.support.worker import settings

CONFIG = yaml.safe_dump(settings("http://127.0.0.1:1"), sort_keys=False)


@pytest.mark.slow
async def test_a_term_drains_and_exits_0(tmp_path: Path) -> None:
    async with GatewayProcess(CONFIG, tmp_path) as gateway:
        assert await gateway.terminate() == 0
        assert any(line.get("event") == "draining" for line in gateway.log_lines())
