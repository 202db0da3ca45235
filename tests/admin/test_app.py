"""The admin listener over real sockets: what it says, to whom, and what it does not do."""

from __future__ import annotations

import asyncio
import re
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy.admin.app import admin_app, serve_admin
from tests.admin.fakes import SECRET, TOKEN, FakeState

Client = TestClient[web.Request, web.Application]
PAGES = ["/", "/-/healthy", "/-/ready", "/metrics", "/-/status", "/-/status.css", "/-/status.js"]
PAGES += ["/-/status.json", "/-/config", "/-/help"]
OPEN = ["/-/healthy", "/-/ready", "/metrics"]
GUARDED = [path for path in PAGES if path not in OPEN]
MEANT = {"X-Gatelodge-Admin": "1"}
STATIC = Path(__file__).parents[2] / "proxy" / "admin" / "static"


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
async def client(state: FakeState, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(admin_app(state))


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
def reachable(aiohttp_client: AiohttpClient) -> Connect:
    """Return what starts a listener that believes that it is bound to an address in the network."""

    async def connect(**changes: Any) -> Client:
        return await aiohttp_client(admin_app(FakeState(admin="0.0.0.0:9090", **changes)))

    return connect


async def read(client: Client, path: str, **options: Any) -> tuple[int, str]:
    async with client.get(path, **options) as response:
        return response.status, await response.text()


async def test_it_is_healthy_whatever_the_state(client: Client, state: FakeState) -> None:
    state.reason = "draining"
    assert await read(client, "/-/healthy") == (200, "ok\n")


async def test_readiness_tells_the_reason(client: Client, state: FakeState) -> None:
    assert await read(client, "/-/ready") == (200, "ready\n")
    state.reason = "draining"
    assert await read(client, "/-/ready") == (503, "draining\n")


async def test_metrics_keep_their_content_type(client: Client) -> None:
    async with client.get("/metrics") as response:
        assert await response.text() == "gatelodge_up 1\n"
        content_type = response.headers["Content-Type"]
    assert content_type == "text/plain; version=1.0.0; charset=utf-8"


async def test_metrics_are_rendered_once_for_each_answer_and_for_nothing_else(
    client: Client, state: FakeState
) -> None:
    for path in [*PAGES, "/nowhere"]:
        await read(client, path)
    await read(client, "/metrics", headers={"Origin": "http://evil.example"})
    await read(client, "/metrics", headers={"Host": "evil.example"})
    async with client.post("/metrics") as response:
        assert response.status == 405
    assert state.rendered == 1


async def test_only_what_has_to_be_up_to_date_is_gathered(client: Client, state: FakeState) -> None:
    for path in ("/-/healthy", "/-/ready", "/-/status", "/-/config", "/-/help"):
        await read(client, path)
    assert state.gathered == 0
    await read(client, "/metrics")
    await read(client, "/-/status.json")
    assert state.gathered == 2


async def test_status_is_what_the_process_says(client: Client, state: FakeState) -> None:
    async with client.get("/-/status.json") as response:
        assert await response.json() == state.status()


async def test_the_configuration_is_shown_without_secrets(client: Client) -> None:
    async with client.get("/-/config") as response:
        assert response.content_type == "application/json"
        text = await response.text()
        shown = await response.json()
    assert SECRET not in text
    assert shown["routes"][0]["path"] == "/**"
    assert shown["admin"] == "127.0.0.1:9090"


async def test_the_admin_token_is_not_shown(reachable: Connect) -> None:
    client = await reachable(admin_token=TOKEN)
    status, text = await read(client, "/-/config", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (status, TOKEN in text) == (200, False)


async def test_the_status_page_asks_only_us_and_runs_nothing_inline(client: Client) -> None:
    async with client.get("/-/status") as response:
        assert response.content_type == "text/html"
        page = await response.text()
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert sorted(loaded) == ["/-/status.css", "/-/status.js"]
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", page)
    for path in [*loaded, *re.findall(r'<a href="([^"]+)"', page)]:
        assert (await read(client, path))[0] == 200, path
    for path, kind in (("/-/status.js", "text/javascript"), ("/-/status.css", "text/css")):
        async with client.get(path) as response:
            assert response.content_type == kind


def test_the_status_page_makes_no_html_of_what_it_reads() -> None:
    script = (STATIC / "status.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script
    )


@pytest.mark.parametrize("path", ["/", "/-/help"])
async def test_help_lists_every_page(client: Client, path: str) -> None:
    _, text = await read(client, path)
    listed = re.findall(r"^  (/\S*)", text, re.MULTILINE)
    pages = [page for page in PAGES if page not in ("/", "/-/status.css", "/-/status.js")]
    assert sorted(listed) == sorted([*pages, "/-/drain", "/-/reload"])


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
async def test_every_answer_is_hardened(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "Server" not in response.headers
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/nowhere", "/-/", "/-/healthy/", "/-//healthy", "/-/%2e%2e/x"])
async def test_an_unknown_path_is_a_404_problem(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"
        assert (await response.json())["status"] == 404


@pytest.mark.parametrize("path", ["/-/revoke", "/-/quit"])
async def test_what_is_not_built_is_not_there(client: Client, path: str) -> None:
    async with client.post(path, headers=MEANT) as response:
        assert response.status == 404


async def test_a_reload_is_asked_for_by_post(client: Client, state: FakeState) -> None:
    async with client.post("/-/reload", headers=MEANT) as response:
        assert (response.status, await response.json()) == (200, {"generation": 2})
    assert state.reloads == 1


async def test_a_reload_that_was_refused_tells_every_problem(
    client: Client, state: FakeState
) -> None:
    state.problems = ("gatelodge.yaml:1:1: no", "gatelodge.yaml:2:2: no")
    async with client.post("/-/reload", headers=MEANT) as response:
        assert response.status == 422
        assert response.content_type == "application/problem+json"
        told = await response.json()
    assert (told["generation"], told["problems"]) == (1, list(state.problems))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="not-meant"),
        pytest.param({**MEANT, "Origin": "http://evil.example"}, id="other-origin"),
        pytest.param({**MEANT, "Origin": "null"}, id="no-origin"),
        pytest.param({**MEANT, "Host": "evil.example"}, id="rebound"),
    ],
)
async def test_no_page_can_make_a_browser_reload_it(
    client: Client, state: FakeState, headers: dict[str, str]
) -> None:
    async with client.post("/-/reload", headers=headers) as response:
        assert response.status in (403, 421)
    assert state.reloads == 0


async def test_a_page_of_the_listener_itself_cannot_reload(
    client: Client, state: FakeState
) -> None:
    own = f"http://{client.host}:{client.port}"
    async with client.post("/-/reload", headers={**MEANT, "Origin": own}) as response:
        assert response.status == 403
    assert state.reloads == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_a_reload_is_not_asked_for_otherwise(
    client: Client, state: FakeState, method: str
) -> None:
    async with client.request(method, "/-/reload", headers=MEANT) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert state.reloads == 0


async def test_clients_are_let_go_by_a_post(client: Client, state: FakeState) -> None:
    for headers, status in (({}, 403), (MEANT, 200)):
        async with client.post("/-/drain", headers=headers) as response:
            assert response.status == status
            assert state.reason == ("draining" if headers else "")
    async with client.get("/-/ready") as response:
        assert (response.status, await response.text()) == (503, "draining\n")


async def test_in_the_network_a_reload_takes_the_token(reachable: Connect) -> None:
    client = await reachable(admin_token=TOKEN)
    for token, status in ((None, 401), ("wrong", 401), (TOKEN, 200)):
        headers = MEANT if token is None else {**MEANT, "Authorization": f"Bearer {token}"}
        async with client.post("/-/reload", headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
async def test_only_reading_is_possible(client: Client, method: str) -> None:
    async with client.request(method, "/-/status.json") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"
        assert response.content_type == "application/problem+json"


async def test_head_is_get_without_a_body(client: Client) -> None:
    async with client.get("/-/status.json") as response:
        length = response.headers["Content-Length"]
    async with client.head("/-/status.json") as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == length
        assert await response.read() == b""


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
async def test_a_rebound_name_reads_nothing(client: Client, path: str) -> None:
    async with client.get(path, headers={"Host": "evil.example:9090"}) as response:
        assert response.status == 421
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_of_another_origin_reads_nothing(client: Client, path: str) -> None:
    async with client.get(path, headers={"Origin": "http://evil.example"}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_our_own_page_may_read(client: Client) -> None:
    own = f"http://{client.host}:{client.port}"
    assert (await read(client, "/-/status.json", headers={"Origin": own}))[0] == 200


@pytest.mark.parametrize("path", OPEN)
async def test_probes_and_prometheus_need_no_token(reachable: Connect, path: str) -> None:
    client = await reachable()
    assert (await read(client, path))[0] == 200


@pytest.mark.parametrize("path", GUARDED)
async def test_everything_else_is_closed_without_a_configured_token(
    reachable: Connect, path: str
) -> None:
    client = await reachable()
    async with client.get(path, headers={"Authorization": "Bearer "}) as response:
        assert response.status == 403
        assert "admin_token" in (await response.json())["detail"]


@pytest.mark.parametrize("path", GUARDED)
async def test_everything_else_needs_the_token(reachable: Connect, path: str) -> None:
    client = await reachable(admin_token=TOKEN)
    right = {"Authorization": f"Bearer {TOKEN}"}
    wrong = {"Authorization": f"Bearer {TOKEN}x"}
    assert (await read(client, path, headers=right))[0] == 200
    async with client.get(path, headers=wrong) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatelodge admin"'


async def test_a_unix_socket_needs_no_token_whatever_the_host(tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    runner = web.AppRunner(admin_app(FakeState(admin=f"unix:{socket}")), access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
            session.get("http://anything.example/-/config") as response,
        ):
            assert response.status == 200
    finally:
        await runner.cleanup()


@asynccontextmanager
async def served(state: FakeState) -> AsyncIterator[tuple[str, int]]:
    """Serve on a socket as a gateway does; yield its address."""
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # of the connections, too
    end = await serve_admin(state, bound)
    try:
        yield bound.getsockname()
    finally:
        await end()


async def test_who_holds_many_connections_keeps_nobody_out(state: FakeState) -> None:
    async with served(state) as where, asyncio.timeout(60):
        held = [await asyncio.open_connection(*where) for _ in range(200)]
        reader, writer = await asyncio.open_connection(*where)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        for oldest, _ in held[:100]:
            assert await oldest.read() == b""
        for _, each in [*held, (reader, writer)]:
            each.close()


async def test_one_more_than_may_be_open_ends_the_oldest(state: FakeState) -> None:
    ask = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with served(state) as where, asyncio.timeout(60):
        held = [await asyncio.open_connection(*where) for _ in range(65)]
        assert await held[0][0].read() == b""
        for reader, writer in held[1:]:
            writer.write(ask)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        for _, each in held:
            each.close()


async def test_who_takes_no_answer_does_not_keep_the_end_waiting(state: FakeState) -> None:
    ask = b"GET /-/status.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with asyncio.timeout(30):  # aiohttp would wait for two minutes
        with socket.socket() as deaf:
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                deaf.setsockopt(socket.SOL_SOCKET, buffer, 4096)
            async with served(state) as where:
                deaf.connect(where)
                deaf.setblocking(False)
                while select.select([], [deaf], [], 0.5)[1]:  # until it is not read any more
                    deaf.send(ask * 100)
                    await asyncio.sleep(0.01)
