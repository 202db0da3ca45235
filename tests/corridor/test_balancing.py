"""Which endpoint a request goes to, in the lane and in the corridor alike."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.corridor.test_websocket import HANDSHAKE, SWITCHED
from tests.support.answers import Answer
from tests.support.client import RawClient
from tests.support.scripts import silent
from tests.support.upstream import Exchange, Script, StubUpstream
from tests.support.worker import LocalGateway, request, settings, signed_in

DOWN = b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n"
UP = b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"
CHECKS = {"path": "/healthz", "interval": "5ms", "rise": 1, "fall": 1}


class Three:
    """Three endpoints; `counts` says how many requests each of them has got, checks left out."""

    def __init__(self) -> None:
        self.stubs = [StubUpstream() for _ in range(3)]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Three:
        for stub in self.stubs:
            await self._stack.enter_async_context(stub)
            stub.script("/healthz", UP)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()
        assert [stub.violations for stub in self.stubs] == [[], [], []]

    def settings(self, **upstream: Any) -> dict[str, Any]:
        return settings(*(stub.url for stub in self.stubs), upstream=upstream)

    @property
    def counts(self) -> list[int]:
        return [sum(each.path != "/healthz" for each in stub.requests) for stub in self.stubs]


class Asker(RawClient):
    """Sends the same request again and again on one connection; from the third on by the lane."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._asked = 0

    async def ask(self, *lines: str, path: str = "/public/x") -> Answer:
        """Send one request and return its answer."""
        self._asked += 1
        await self.send(request("GET", path, *lines))
        answers = await self.read_answers(self._asked)
        assert len(answers) == self._asked
        return answers[-1]

    async def ask_again(self, times: int, *lines: str, path: str = "/public/x") -> None:
        """Send that many requests, which must be answered 200."""
        for _ in range(times):
            assert (await self.ask(*lines, path=path)).status == 200


async def test_the_lane_takes_turns_too() -> None:
    async with Three() as three, LocalGateway(three.settings()) as gateway:
        async with Asker(gateway.port) as client:
            await client.ask_again(30)
        assert three.counts == [10, 10, 10]


async def test_weights_hold_in_the_lane() -> None:
    async with Three() as three:
        config = three.settings()
        for entry, weight in enumerate((3, 2, 1)):
            url = config["upstreams"]["api"]["endpoints"][entry]
            config["upstreams"]["api"]["endpoints"][entry] = {"url": url, "weight": weight}
        async with LocalGateway(config) as gateway, Asker(gateway.port) as client:
            await client.ask_again(36)
        assert three.counts == [18, 12, 6]


async def test_a_user_stays_with_an_endpoint_and_users_are_spread() -> None:
    async with Three() as three:
        async with LocalGateway(three.settings(balance="hash(user)")) as gateway:
            homes = []
            for number in range(12):
                before = three.counts
                async with Asker(gateway.port) as client:
                    await client.ask_again(5, signed_in(f"user-{number}"), path="/api/x")
                gained = [now - then for now, then in zip(three.counts, before, strict=True)]
                assert sorted(gained) == [0, 0, 5]
                homes.append(gained.index(5))
        assert len(set(homes)) == 3


async def test_an_address_stays_with_an_endpoint() -> None:
    async with Three() as three:
        config = three.settings(balance="hash(ip)") | {"trusted_proxies": ["127.0.0.1"]}
        async with LocalGateway(config) as gateway:
            homes: Counter[int] = Counter()
            for number in range(12):
                before = three.counts
                async with Asker(gateway.port) as client:
                    await client.ask_again(4, f"X-Forwarded-For: 203.0.113.{number}")
                gained = [now - then for now, then in zip(three.counts, before, strict=True)]
                assert sorted(gained) == [0, 0, 4]
                homes[gained.index(4)] += 1
        assert len(homes) > 1


async def test_least_requests_leaves_out_who_is_busy() -> None:
    async with Three() as three:
        config = three.settings(balance="least_requests")
        async with LocalGateway(config) as gateway, Asker(gateway.port) as client:
            await client.ask_again(60)
            assert sum(three.counts) == 60
            assert min(three.counts) > 5
            assert [each["requests"] for each in gateway.endpoints] == [0, 0, 0]


async def test_several_unix_sockets_are_balanced(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b")]
    async with StubUpstream(path=paths[0]) as one, StubUpstream(path=paths[1]) as two:
        config = settings(one.url, two.url)
        async with LocalGateway(config) as gateway, Asker(gateway.port) as client:
            await client.ask_again(6)
        assert (len(one.requests), len(two.requests)) == (3, 3)


async def test_an_endpoint_that_is_down_gets_no_request_in_the_lane_either() -> None:
    async with Three() as three:
        config = three.settings(health=CHECKS)
        async with LocalGateway(config) as gateway, Asker(gateway.port) as client:
            await client.ask_again(9)
            three.stubs[1].script("/healthz", DOWN)
            await gateway.until(lambda: gateway.endpoints[1]["state"] == "down")
            before = three.counts
            await client.ask_again(10)
            after = three.counts
            assert [now - then for now, then in zip(after, before, strict=True)] == [5, 0, 5]
            three.stubs[1].script("/healthz", UP)
            await gateway.until(lambda: gateway.endpoints[1]["state"] == "up")
            await client.ask_again(9)
            assert three.counts[1] == after[1] + 3


async def test_without_an_endpoint_requests_are_answered_at_once() -> None:
    async with Three() as three:
        for stub in three.stubs:
            stub.script("/healthz", DOWN)
        async with LocalGateway(three.settings(health=CHECKS), expect_errors=True) as gateway:
            async with Asker(gateway.port) as client:
                await gateway.until(
                    lambda: {each["state"] for each in gateway.endpoints} == {"down"}
                )
                for _ in range(4):
                    answer = await client.ask()
                    assert (answer.status, answer.json()["code"]) == (503, "no_endpoint")
                    assert answer.get("Retry-After") == "1"
            line = await gateway.logged()
            assert (line["code"], line["attempts"], line["endpoint"]) == ("no_endpoint", 0, None)
            assert "status 503" in line["reason"]
            ready, why = gateway.worker.state.ready()
            assert not ready
            assert why.startswith("no usable endpoint: api: ")
            text = gateway.worker.state.metrics_text()[0].decode()
            for stub in three.stubs:
                labels = f'{{endpoint="{stub.url}",upstream="api"}}'
                assert f"gatelodge_endpoint_up{labels} 0.0" in text
        assert three.counts == [0, 0, 0]


async def test_in_panic_requests_go_to_whoever_there_is() -> None:
    async with Three() as three:
        for stub in three.stubs:
            stub.script("/healthz", DOWN)
        config = three.settings(health=CHECKS, panic="forward")
        async with LocalGateway(config) as gateway:
            await gateway.until(lambda: {each["state"] for each in gateway.endpoints} == {"down"})
            async with Asker(gateway.port) as client:
                await client.ask_again(6)
            assert gateway.worker.state.ready() == (True, "ready")
        assert three.counts == [2, 2, 2]


@pytest.mark.parametrize("server_errors", [True, False])
async def test_server_errors_eject_only_by_choice(server_errors: bool) -> None:
    async with Three() as three:
        three.stubs[0].script("/public/x", DOWN)
        config = three.settings(
            eject={"failures": 2, "base": "10m", "server_errors": server_errors}
        )
        async with LocalGateway(config) as gateway:
            for _ in range(9):
                await gateway.ask("GET", "/public/x")
            states = [each["state"] for each in gateway.endpoints]
            assert states == ["ejected" if server_errors else "up", "up", "up"]
            if server_errors:
                assert gateway.endpoints[0]["reason"] == "status 503"
        assert three.counts == ([2, 4, 3] if server_errors else [3, 3, 3])


async def test_failures_with_successes_between_them_eject_nobody() -> None:
    async with Three() as three:
        three.stubs[0].script("/public/x", b"SSH-2.0-x\r\n")
        config = three.settings(eject={"failures": 2, "base": "10m"}, retry={"attempts": 1})
        async with LocalGateway(config) as gateway:
            for _ in range(6):
                await gateway.ask("GET", "/public/x")
                for _ in range(5):
                    await gateway.ask("GET", "/public/y")
            assert {each["state"] for each in gateway.endpoints} == {"up"}


async def stream(exchange: Exchange) -> None:
    """Begin an answer, and go on until the client has left."""
    await exchange.send(b"HTTP/1.1 200 \r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await silent(exchange)


async def switch(exchange: Exchange) -> None:
    await exchange.send(SWITCHED)
    await silent(exchange)


@pytest.mark.parametrize(
    ("answer", "head", "leaves"),
    [(stream, (), True), (switch, HANDSHAKE, False), (switch, HANDSHAKE, True)],
)
async def test_streams_and_tunnels_are_successes_too(
    answer: Script, head: tuple[str, ...], leaves: bool
) -> None:
    """A tunnel from its 101 on, a stream when its client has left and it was well until then."""
    async with Three() as three, AsyncExitStack() as clients:
        for stub in three.stubs:
            stub.script("/public/y", answer)
        three.stubs[0].script("/public/x", b"SSH-2.0-x\r\n")
        config = three.settings(eject={"failures": 2, "base": "10m"}, retry={"attempts": 1})
        config["routes"][0]["upgrade"] = "websocket"
        async with LocalGateway(config) as gateway:
            for _ in range(4):
                assert (await gateway.ask("GET", "/public/x")).status == 502
                for _ in range(5):
                    client = await clients.enter_async_context(RawClient(gateway.port))
                    await client.send(request("GET", "/public/y", *head))
                    await client.wait(lambda: b"\r\n\r\n" in client.received)  # noqa: B023
                    if leaves:
                        client.reset_connection()
                        await gateway.until(lambda: not _under_way(gateway))
            assert {each["state"] for each in gateway.endpoints} == {"up"}


def _under_way(gateway: LocalGateway) -> int:
    return sum(int(each["requests"]) + int(each["streams"]) for each in gateway.endpoints)


async def test_an_answer_that_is_cut_is_a_failure_of_its_endpoint() -> None:
    async with Three() as three:
        cut = b"HTTP/1.1 200 \r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf"

        async def half(exchange: Any) -> None:
            await exchange.send(cut)
            exchange.close()

        three.stubs[0].script("/public/x", half)
        config = three.settings(eject={"failures": 2, "base": "10m"})
        async with LocalGateway(config) as gateway:
            for _ in range(6):
                async with Asker(gateway.port) as client:
                    await client.send(request("GET", "/public/x"))
                    await client.read_answers()
            await gateway.until(lambda: gateway.endpoints[0]["state"] == "ejected")


async def test_a_reload_keeps_connections_and_what_is_known_of_endpoints() -> None:
    async with Three() as three:
        three.stubs[0].script("/public/x", DOWN)
        rules = {"failures": 2, "base": "10m", "server_errors": True}
        async with LocalGateway(three.settings(eject=rules)) as gateway:
            async with Asker(gateway.port) as client:
                for _ in range(9):
                    await client.ask()
                assert [each["state"] for each in gateway.endpoints] == ["ejected", "up", "up"]
                connections = [len(stub.connections) for stub in three.stubs]
                changed = three.settings(eject=rules, balance="least_requests")
                assert (await gateway.reload(changed)).problems == ()
                assert [each["state"] for each in gateway.endpoints] == ["ejected", "up", "up"]
                await client.ask_again(4)
            assert [len(stub.connections) for stub in three.stubs] == connections
            two = settings(three.stubs[1].url, three.stubs[2].url, upstream={"eject": rules})
            assert (await gateway.reload(two)).problems == ()
            assert [each["state"] for each in gateway.endpoints] == ["up", "up"]
            await gateway.until(lambda: all(c.ended.is_set() for c in three.stubs[0].connections))


async def test_a_reload_goes_on_with_checks_by_the_new_rules() -> None:
    async with Three() as three, LocalGateway(three.settings(health=CHECKS)) as gateway:
        other = CHECKS | {"path": "/other"}
        assert (await gateway.reload(three.settings(health=other))).problems == ()
        await gateway.until(
            lambda: all(any(r.path == "/other" for r in s.requests) for s in three.stubs)
        )
        three.stubs[0].script("/other", DOWN)
        await gateway.until(lambda: gateway.endpoints[0]["state"] == "down")
        for stub in three.stubs:
            stub.forget()
        await gateway.until(lambda: len(three.stubs[1].requests) > 3)
        assert {each.path for each in three.stubs[1].requests} == {"/other"}
