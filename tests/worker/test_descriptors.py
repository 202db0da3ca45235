"""proxy/worker/descriptors.py: how many files may be open, and what follows from it."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable

import pytest

from proxy.config.model import Config
from proxy.gateway.crowd import RESERVE
from proxy.worker.descriptors import client_connections
from tests.config.helpers import config_of, written

INFINITY = resource.RLIM_INFINITY
OTHERS = 128 + RESERVE + 512
"""What one endpoint with the default number of connections needs beside the clients."""


class Kernel:
    """One process's limits; `strict` refuses to raise any."""

    def __init__(self, soft: int, hard: int, *, strict: bool = False) -> None:
        self.limits = soft, hard
        self._strict = strict

    def getrlimit(self, what: int) -> tuple[int, int]:
        assert what == resource.RLIMIT_NOFILE
        return self.limits

    def setrlimit(self, what: int, limits: tuple[int, int]) -> None:
        assert what == resource.RLIMIT_NOFILE
        if self._strict:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


Install = Callable[[Kernel], Kernel]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(kernel: Kernel) -> Kernel:
        monkeypatch.setattr(resource, "getrlimit", kernel.getrlimit)
        monkeypatch.setattr(resource, "setrlimit", kernel.setrlimit)
        return kernel

    return install


def config(connections: int = 10_000) -> Config:
    return config_of(written(limits=f"{{connections: {connections}}}"))


@pytest.mark.parametrize("hard", [20_000, INFINITY])
def test_the_limit_is_raised_to_what_is_needed(
    install: Install, caplog: pytest.LogCaptureFixture, hard: int
) -> None:
    kernel = install(Kernel(1024, hard))
    assert client_connections(config()) == 10_000
    assert kernel.limits == (10_000 + OTHERS, hard)
    assert caplog.records == []


@pytest.mark.parametrize("soft", [20_000, INFINITY])
def test_one_that_is_high_enough_is_left_alone(install: Install, soft: int) -> None:
    kernel = install(Kernel(soft, INFINITY))
    assert client_connections(config()) == 10_000
    assert kernel.limits == (soft, INFINITY)


@pytest.mark.parametrize(
    "kernel",
    [Kernel(1024, 4096), Kernel(4096, 4096), Kernel(4096, INFINITY, strict=True)],
    ids=["raised as far as it goes", "at its end", "not to be raised"],
)
def test_where_it_is_too_low_fewer_clients_are_let_in_and_it_is_said(
    install: Install, caplog: pytest.LogCaptureFixture, kernel: Kernel
) -> None:
    install(kernel)
    with caplog.at_level(logging.WARNING):
        assert client_connections(config()) == 4096 - OTHERS
    [record] = caplog.records
    told = vars(record)
    assert (told["open_files"], told["needed"]) == (4096, 10_000 + OTHERS)
    assert told["connections"] == 4096 - OTHERS
    assert "limits.connections" in record.getMessage()


def test_a_few_clients_are_let_in_whatever_the_upstreams_could_take(install: Install) -> None:
    install(Kernel(256, 256))
    assert client_connections(config()) == 64


def test_a_small_number_of_clients_is_not_made_larger(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(Kernel(256, 256))
    assert client_connections(config(10)) == 10
    assert caplog.records == []


def test_endpoints_and_databases_count(install: Install) -> None:
    kernel = install(Kernel(1024, INFINITY))
    text = written(
        upstreams="{api: {endpoints: [http://a, http://b], connections: 100}}",
        sessions="{web: {kind: authjs, database: {url: 'postgres://a@b/c', connections: 7}}}",
        limits="{connections: 10}",
    )
    assert client_connections(config_of(text)) == 10
    assert kernel.limits[0] == 1024  # enough
    install(kernel := Kernel(100, INFINITY))
    client_connections(config_of(text))
    assert kernel.limits[0] == 10 + 128 + RESERVE + 200 + 7
