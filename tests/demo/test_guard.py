"""The demo's servers answer to loopback names only."""

from __future__ import annotations

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from proxy.demo.guard import guarded_application, host_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:3000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("evil.example:3000", "evil.example"),
        ("localhost:x", "localhost:x"),
        ("", ""),
    ],
)
def test_host_without_its_port(host: str, name: str) -> None:
    assert name == host_name(host)


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.fixture
def app() -> web.Application:
    made = guarded_application({"X-Own": "1"}, 16)
    made.router.add_route("*", "/", _hello)
    return made


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:80", "[::1]:80"])
async def test_a_loopback_name_is_answered(
    app: web.Application, aiohttp_client: AiohttpClient, host: str
) -> None:
    client = await aiohttp_client(app)
    async with client.get("/", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2", "::1"])
async def test_a_foreign_name_is_refused(
    app: web.Application, aiohttp_client: AiohttpClient, host: str
) -> None:
    client = await aiohttp_client(app)
    async with client.get("/", headers={"Host": host}) as answer:
        assert answer.status == 421


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nowhere", 404)])
async def test_every_answer_carries_the_headers(
    app: web.Application, aiohttp_client: AiohttpClient, path: str, status: int
) -> None:
    client = await aiohttp_client(app)
    async with client.get(path) as answer:
        assert answer.status == status
        assert answer.headers["X-Own"] == "1"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
