"""proxy/worker/reload.py: all of a configuration, or nothing of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from proxy.config.model import Config
from proxy.config.problems import ConfigError, Problem
from proxy.telemetry.metrics import Metrics
from proxy.worker.reload import Reloader
from proxy.worker.source import Mark
from proxy.worker.systemd import Notifier
from tests.support.exchanges import SECRET, config_of

TEXT = f"""
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
"""


class Shelf:
    """A source that gives, or raises, what is on it; counts how often it was read."""

    marks: Mapping[Path, Mark] = MappingProxyType({})

    def __init__(self) -> None:
        self.next: Config | Exception = config_of(TEXT)
        self.reads = 0
        self.begun = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def read(self) -> Config:
        self.reads += 1
        self.begun.set()
        assert self.free.wait(30)
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


class Desk:
    """A reloader and what it has put to use."""

    def __init__(self) -> None:
        self.shelf, self.metrics = Shelf(), Metrics()
        self.used: list[Config] = []
        self.fault: Exception | None = None
        self.reloader = Reloader(self.shelf, self._use, self.metrics, config_of(TEXT), Notifier({}))

    async def _use(self, config: Config) -> int:
        if self.fault is not None:
            raise self.fault
        self.used.append(config)
        return 1 + len(self.used)


async def test_a_good_configuration_is_used() -> None:
    desk = Desk()
    desk.metrics.reload_timestamp = 0.0
    outcome = await desk.reloader.reload()
    assert (outcome.generation, outcome.problems) == (2, ())
    assert desk.used == [desk.shelf.next]
    assert desk.metrics.reload_successful == 1
    assert desk.metrics.reload_timestamp == outcome.at > 0
    assert desk.reloader.last is outcome


@pytest.mark.parametrize(
    ("fault", "problems"),
    [
        pytest.param(
            ConfigError(
                [
                    Problem("f.yaml", 3, 7, "no", snippet="    x\n    ^"),
                    Problem("f.yaml", 1, 1, "nor this"),
                ]
            ),
            ("f.yaml:1:1: nor this", "f.yaml:3:7: no"),
            id="config",
        ),
        pytest.param(OSError(2, "No such file", "ca.pem"), ("ca.pem: No such file",), id="file"),
        pytest.param(OSError("gone"), ("gone",), id="os"),
        pytest.param(ValueError("no table"), ("no table",), id="value"),
        pytest.param(
            KeyError("hunter2"), ("an error that nobody expected; the log has it",), id="any"
        ),
    ],
)
@pytest.mark.parametrize("where", ["source", "use"])
async def test_a_bad_one_changes_nothing_and_is_told_whole(
    fault: Exception, problems: tuple[str, ...], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    good = desk.shelf.next
    await desk.reloader.reload()
    read_at = desk.metrics.reload_timestamp
    if where == "source":
        desk.shelf.next = fault
    else:
        desk.fault = fault
    with caplog.at_level(logging.ERROR):
        outcome = await desk.reloader.reload()
    assert (outcome.generation, outcome.problems) == (2, problems)
    assert desk.used == [good]
    assert desk.metrics.reload_successful == 0
    assert desk.metrics.reload_timestamp == read_at
    told = [getattr(record, "problem", None) for record in caplog.records]
    assert [each for each in told if each] == list(problems)
    # And the next one may be good again.
    desk.shelf.next, desk.fault = good, None
    assert (await desk.reloader.reload()).problems == ()
    assert desk.metrics.reload_successful == 1


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ("listen: 127.0.0.1:8099", "listen"),
        ("listen: {address: 0.0.0.0:8080, tls: {cert: CERT, key: CERT}}", "listen"),
        ("admin: 127.0.0.1:9099", "admin"),
    ],
)
async def test_what_only_a_restart_changes_is_refused_whole(
    changed: str, key: str, tmp_path: Path
) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("-----BEGIN CERTIFICATE-----\n")
    desk = Desk()
    desk.shelf.next = config_of(TEXT + changed.replace("CERT", str(cert)))
    [problem] = (await desk.reloader.reload()).problems
    assert problem.startswith(f"{key}: ")
    assert "restart" in problem
    assert desk.used == []


async def test_all_who_ask_while_one_is_under_way_share_the_next_read() -> None:
    desk = Desk()
    desk.shelf.free.clear()
    first = asyncio.ensure_future(desk.reloader.reload())
    assert await asyncio.to_thread(desk.shelf.begun.wait, 30)
    others = [asyncio.ensure_future(desk.reloader.reload()) for _ in range(20)]
    await asyncio.sleep(0)
    desk.shelf.free.set()
    assert (await first).generation == 2
    assert {(await other).generation for other in others} == {3}
    assert desk.shelf.reads == 2


async def test_who_asked_and_went_away_ends_it_for_nobody() -> None:
    desk = Desk()
    desk.shelf.free.clear()
    gone, stays = (asyncio.ensure_future(desk.reloader.reload()) for _ in range(2))
    assert await asyncio.to_thread(desk.shelf.begun.wait, 30)
    gone.cancel()
    desk.shelf.free.set()
    assert (await stays).generation >= 2


async def test_stop_gives_up_what_is_under_way_and_tells_who_asked() -> None:
    desk = Desk()
    desk.shelf.free.clear()
    asked = asyncio.ensure_future(desk.reloader.reload())
    assert await asyncio.to_thread(desk.shelf.begun.wait, 30)
    await desk.reloader.stop()
    desk.shelf.free.set()
    assert (await asked).problems == ("the gateway is ending",)
    assert desk.used == []


async def test_after_the_end_nothing_is_read() -> None:
    desk = Desk()
    desk.reloader.begin()
    await desk.reloader.stop()
    desk.reloader.ask()
    assert (await desk.reloader.reload()).problems == ("the gateway is ending",)
    await asyncio.sleep(0)
    assert desk.shelf.reads == 0


async def test_what_is_asked_for_before_the_start_has_ended_comes_then() -> None:
    desk = Desk()
    desk.reloader.ask()
    await asyncio.sleep(0)
    assert desk.shelf.reads == 0
    desk.reloader.begin()
    assert (await desk.reloader.reload()).generation == 2
    assert desk.shelf.reads == 1


async def test_without_being_asked_the_end_of_the_start_reads_nothing() -> None:
    desk = Desk()
    desk.reloader.begin()
    await asyncio.sleep(0)
    assert desk.shelf.reads == 0
    desk.reloader.ask()
    assert (await desk.reloader.reload()).generation == 2
    assert desk.shelf.reads == 1
