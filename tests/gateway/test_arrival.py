"""proxy/gateway/arrival.py over a fake transport; with real sockets it is in tests/corridor."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import pytest

from proxy.config.model import Address, Limits, Listen
from proxy.gateway.arrival import Arrival, Arrivals
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.telemetry.metrics import Metrics
from proxy.upstream.deadlines import NEVER, Deadlines
from tests.gateway.fakes import PEER, FakeGateway, FakeTransport, turns

LISTEN = Listen(address=Address("127.0.0.1", 0), proxy_protocol=True)
HEADER = b"PROXY TCP4 198.51.100.7 10.0.0.1 50000 80\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Door:
    """A listener with the PROXY protocol, in front of a fake gateway."""

    def __init__(self, **limits: float) -> None:
        loop = asyncio.get_running_loop()
        self.gateway = FakeGateway()
        self.metrics = Metrics()
        self.deadlines = Deadlines(loop)
        self.server = ClientServer(
            self.gateway, Limits.model_validate(limits), self.deadlines, tls=False
        )
        self.arrivals = Arrivals(self.server, self.metrics, LISTEN, None)

    def connect(self) -> tuple[Arrival, FakeTransport]:
        arrival = self.arrivals()
        transport = FakeTransport(arrival)
        arrival.connection_made(transport)
        return arrival, transport

    @property
    def watched(self) -> set[object]:
        return set(self.deadlines._watched)


async def test_it_becomes_the_connection_of_the_client_that_the_header_names() -> None:
    door = Door()
    arrival, transport = door.connect()
    assert door.server.arriving == {arrival}
    arrival.data_received(HEADER + GET)
    await turns()
    client = transport.get_protocol()
    assert isinstance(client, ClientConnection)
    assert client.whoever.address == "198.51.100.7"
    assert [(head.target, head.peer) for head in door.gateway.heads] == [("/x", "198.51.100.7")]
    assert not door.server.arriving
    assert door.watched == {client}
    client.data_received(GET)
    await turns()
    assert door.gateway.targets == ["/x", "/x"]


async def test_the_end_that_was_on_its_way_reaches_the_client() -> None:
    """An event loop may call the protocol that was there when the connection ended."""
    door = Door()
    arrival, transport = door.connect()
    arrival.data_received(HEADER)
    client = transport.get_protocol()
    assert isinstance(client, ClientConnection)
    arrival.connection_lost(None)
    await turns()
    assert door.server.clients == []
    assert door.watched == set()


async def test_the_deadline_is_that_of_the_header() -> None:
    door = Door(header_timeout=7.0)
    before = monotonic()
    arrival, transport = door.connect()
    assert before + 7 <= arrival.deadline <= monotonic() + 7
    due = arrival.deadline
    arrival.data_received(HEADER[:5])
    assert arrival.deadline == due
    arrival.expire()
    assert transport.calls == ["abort"]
    assert arrival.deadline == NEVER
    assert door.metrics.arrivals_refused == {"proxy_header_late": 1}
    assert door.watched == set()
    await turns()


async def test_what_comes_after_a_refusal_is_not_looked_at() -> None:
    door = Door()
    arrival, transport = door.connect()
    arrival.data_received(GET)
    arrival.data_received(HEADER + GET)
    arrival.connection_lost(None)
    await turns()
    assert transport.calls == ["abort"]
    assert transport.written == b""
    assert door.gateway.heads == []
    assert door.metrics.arrivals_refused == {"proxy_header_missing": 1}


async def test_a_peer_that_is_not_trusted_does_not_get_so_far() -> None:
    door = Door()
    door.gateway.trusted.clear()
    arrival, transport = door.connect()
    arrival.data_received(HEADER + GET)
    await turns()
    assert transport.calls == ["abort"]
    assert door.gateway.heads == []
    assert door.metrics.arrivals_refused == {"peer_untrusted": 1}


async def test_each_reason_is_told_once_and_counted_always(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "gatelodge")
    door = Door()
    for data in (GET, GET, b"PROXY \r\n", GET):
        door.connect()[0].data_received(data)
    await turns()
    assert door.metrics.arrivals_refused == {"proxy_header_missing": 3, "proxy_header_bad": 1}
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "DEBUG", "WARNING", "DEBUG"]
    assert {getattr(record, "peer", "") for record in caplog.records} == {PEER[0]}


async def test_only_who_has_said_nothing_is_idle() -> None:
    door = Door()
    (idle, silent), (busy, talking) = door.connect(), door.connect()
    busy.data_received(HEADER[:5])
    for arrival in (idle, busy):
        arrival.close_idle()
    assert (silent.calls, talking.calls) == (["abort"], [])
    door.arrivals.stop()
    assert talking.calls == ["abort"]
    await turns()
    assert not door.server.arriving
    assert door.metrics.arrivals_refused == {}


async def test_without_either_setting_there_are_no_arrivals() -> None:
    door = Door()
    assert door.arrivals.factory is door.arrivals
    listen = LISTEN.model_copy(update={"proxy_protocol": False})
    plain = Arrivals(door.server, door.metrics, listen, None)
    assert plain.factory is door.server


async def test_it_has_a_repr_without_anybodys_address() -> None:
    door = Door()
    arrival, _ = door.connect()
    assert repr(arrival) == "<Arrival awaits=header>"
    assert repr(door.arrivals) == "<Arrivals under_way=1>"
