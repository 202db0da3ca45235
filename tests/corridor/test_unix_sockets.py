"""Unix sockets, on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import RawClient, exchange
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import HOST, LocalGateway, request, settings, signed_in

BOTH_LOOPS = True


async def test_request_passes_from_socket_to_socket(tmp_path: Path) -> None:
    front, back = str(tmp_path / "front.sock"), str(tmp_path / "back.sock")
    async with StubUpstream(path=back) as upstream:
        config = settings(upstream.url, listen=f"unix:{front}")
        async with LocalGateway(config) as gateway, RawClient(front) as client:
            assert gateway.worker.addresses["main"] == f"unix:{front}"
            for number in (1, 2):
                await client.send(request("POST", "/api/x", signed_in(), body=b"hello"))
                answers = await client.read_answers(number)
                assert answers[-1].status == 200
            line = await gateway.logged()
    assert line["client"] == "unix"
    assert line["endpoint"] == f"unix:{back}"
    assert [each.get("Host") for each in upstream.requests] == [HOST, HOST]
    assert upstream.requests[0].values("X-Forwarded-For") == []
    assert len(upstream.connections) == 1


async def test_cut_answer_is_cut_for_the_client_too(tmp_path: Path) -> None:
    """A unix socket knows no reset: the framing must tell."""
    front = str(tmp_path / "front.sock")

    async def cut(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        exchange.close()

    async with StubUpstream() as upstream:
        upstream.script("/public/x", cut)
        config = settings(upstream.url, listen=f"unix:{front}")
        async with LocalGateway(config), RawClient(front) as client:
            await client.send(request("GET", "/public/x"))
            await client.read_until_closed()
            assert not any(each.complete for each in client.answers().all)


async def test_socket_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "front.sock")
    async with StubUpstream() as upstream:
        config = settings(upstream.url, listen=f"unix:{path}")
        for _ in range(2):
            async with LocalGateway(config):
                assert (await exchange(path, request("GET", "/public/x"))).status == 200


async def test_socket_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "front.sock")
    async with StubUpstream() as upstream:
        config = settings(upstream.url, listen=f"unix:{path}")
        async with LocalGateway(config):
            with pytest.raises(OSError, match="cannot listen on unix:"):
                await LocalGateway(config).__aenter__()
            assert (await exchange(path, request("GET", "/public/x"))).status == 200


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    path.write_text("mine")
    config = settings("http://127.0.0.1:1", listen=f"unix:{path}")
    with pytest.raises(OSError, match="cannot listen on unix:"):
        await LocalGateway(config).__aenter__()
    assert path.read_text() == "mine"
