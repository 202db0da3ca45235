"""The demo's API tells what it received, and who the gateway says it is."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from proxy.demo.echo import EVENTS, MAX_BODY_BYTES, EchoApi, user_of

Client = TestClient[web.Request, web.Application]

ZOE = {
    "X-User-Id": "u-1003",
    "X-User-Email": "zoe@example.com",
    "X-User-Name": "Zo%C3%AB %C3%85ngstr%C3%B6m",
    "X-User-Roles": "user,billing%2C eu",
}
DECODED = {
    "id": "u-1003",
    "email": "zoe@example.com",
    "name": "Zoë Ångström",
    "roles": ["user", "billing, eu"],
}


@pytest.fixture
async def api(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(EchoApi(pace=0).application())


def test_the_user_is_decoded_from_the_headers() -> None:
    assert user_of(ZOE) == DECODED


def test_absent_fields_are_absent() -> None:
    assert user_of({"X-User-Id": "1"}) == {"id": "1", "email": None, "name": None, "roles": []}


def test_without_an_id_there_is_nobody() -> None:
    assert user_of({"X-User-Name": "Eve"}) is None


async def test_the_answer_tells_what_was_received(api: Client) -> None:
    async with api.post("/any/where?x=1", data=b"hi", headers={**ZOE, "X-Own": "<b>"}) as answer:
        received = await answer.json()
    assert answer.content_type == "application/json"
    assert received["method"] == "POST"
    assert received["target"] == "/any/where?x=1"
    assert received["body"] == "hi"
    assert received["user"] == DECODED
    assert ["X-Own", "<b>"] in received["headers"]


async def test_a_body_that_is_not_text_is_no_fault(api: Client) -> None:
    async with api.post("/", data=b"\xff\x00") as answer:
        assert (await answer.json())["body"] == "\ufffd\x00"


async def test_a_large_body_is_refused(api: Client) -> None:
    async with api.post("/", data=b"x" * (MAX_BODY_BYTES + 1)) as answer:
        assert answer.status == 413


async def test_events_are_numbered_and_end(api: Client) -> None:
    async with api.get("/api/events", headers=ZOE) as answer:
        text = await answer.text()
    assert answer.content_type == "text/event-stream"
    events = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n")[:-1]]
    assert [event["event"] for event in events] == list(range(1, EVENTS + 1))
    assert events[0]["user"] == DECODED


async def test_the_websocket_names_the_user_and_echoes(api: Client) -> None:
    async with api.ws_connect("/api/ws", headers=ZOE) as socket:
        assert await socket.receive_json() == {"user": DECODED}
        await socket.send_str("hello")
        assert await socket.receive_json() == {"echo": "hello"}
