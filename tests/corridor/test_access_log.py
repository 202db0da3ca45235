"""One line for each exchange, with what operators need and nothing that nobody should see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.support.client import RawClient, exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import COOKIE, LocalGateway, request, settings, signed_in, token


async def test_line_says_what_happened(gateway: LocalGateway, upstream: StubUpstream) -> None:
    upstream.script("/api/x", b"HTTP/1.1 201 X\r\nContent-Length: 5\r\n\r\nhello")
    answer = await gateway.ask("POST", "/api/x?q=1", signed_in("u-7"), body=b"abc")
    line = await gateway.logged()
    assert set(line) == {
        *("time", "event", "request_id", "trace_id", "client", "method", "path", "route", "user"),
        *("status", "code", "reason", "upstream", "endpoint", "attempts", "duration"),
        *("upstream_duration", "bytes_in", "bytes_out"),
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert line["request_id"] == answer.get("X-Request-Id")
    assert line["trace_id"] == str(upstream.requests[0].get("traceparent"))[3:35]
    assert 0 < line["upstream_duration"] <= line["duration"]
    del line["time"], line["request_id"], line["trace_id"]
    del line["duration"], line["upstream_duration"]
    assert line == {
        "event": "request",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/api/x",
        "route": "/api/**",
        "user": "u-7",
        "status": 201,
        "code": None,
        "reason": None,
        "upstream": "api",
        "endpoint": upstream.url,
        "attempts": 1,
        "bytes_in": 3,
        "bytes_out": 5,
    }


async def test_refusal_says_why_to_the_operator_alone(gateway: LocalGateway) -> None:
    answer = await gateway.ask("GET", "/api/x", f"Cookie: {COOKIE}={token(secret='x' * 40)}")
    line = await gateway.logged()
    assert (line["status"], line["code"]) == (401, "session_invalid")
    assert line["reason"]
    assert line["reason"].encode() not in answer.body
    assert (line["attempts"], line["upstream"], line["upstream_duration"]) == (0, None, None)


async def test_bodies_are_counted_whole(gateway: LocalGateway, upstream: StubUpstream) -> None:
    async def chunks(exchange: Exchange) -> None:
        await exchange.read_body()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await exchange.send(head + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 500 + b"0\r\n\r\n")

    upstream.script("/public/x", chunks)
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", "/public/x", "Transfer-Encoding: chunked"))
        for _ in range(100):
            await client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await client.send(b"0\r\n\r\n")
        await client.read_answers()
    line = await gateway.logged()
    assert (line["bytes_in"], line["bytes_out"]) == (100_000, 500_000)


async def test_no_secret_is_ever_in_a_line(gateway: LocalGateway) -> None:
    secret = "Op3nSesame"  # in places where a log must not look
    valid, broken = token("u-1", email=f"{secret}@example.com", name=secret), f"{secret}.x.y.z.w"
    requests = [
        request("GET", f"/public/x?token={secret}", f"Referer: https://a/{secret}"),
        request("GET", "/api/x", f"Cookie: {COOKIE}={valid}; other={secret}"),
        request("GET", "/api/x", f"Cookie: {COOKIE}={broken}"),
        request("GET", "/api/x", f"Authorization: Bearer {broken}"),
        request("POST", "/public/x", f"X-Api-Key: {secret}", body=secret.encode()),
        request("GET", f"/nowhere?{secret}", f"User-Agent: {secret}"),
        request("GET", f"/public/x#{secret}"),
        request("GET", "/public/x", f"Host: {secret}", host=None),
        request(secret, "/public/x"),
        request("GET", "/public/x", f"Bad {secret}: x"),
    ]
    for data in requests:
        await exchange(gateway.port, data)
    await gateway.until(lambda: len(gateway.log_lines()) == len(requests))
    assert secret not in gateway.log_text()
    assert valid not in gateway.log_text()


async def test_path_and_user_cannot_forge_a_line(gateway: LocalGateway) -> None:
    forged = '\n{"event": "request", "user": "root"}\x1b[2J\u2028\ud7ff'
    await gateway.ask("GET", '/api/%0a%1b[2J"x', signed_in(forged))
    await gateway.ask("GET", "/api/x", signed_in(forged))
    await gateway.until(lambda: len(gateway.log_lines()) == 2)
    text = gateway.log_text()
    assert text.isascii()
    assert text.count("\n") == 2
    assert "\x1b" not in text
    assert all(json.loads(line)["event"] == "request" for line in text.splitlines())
    assert gateway.log_lines()[1]["user"].startswith("\\n{")


async def test_long_values_are_cut(upstream: StubUpstream) -> None:
    async with LocalGateway(settings(upstream.url)) as gateway:
        await gateway.ask("GET", f"/api/{'x' * 8000}", signed_in("u" * 500))
        line = await gateway.logged()
    assert len(line["path"]) <= 1024
    assert len(line["user"]) <= 256


async def test_log_is_off_where_it_is_switched_off(upstream: StubUpstream) -> None:
    config = settings(upstream.url, log={"access": False, "format": "json"})
    async with LocalGateway(config) as gateway:
        assert (await gateway.ask("GET", "/public/x")).status == 200
    assert gateway.log_text() == ""


async def test_text_is_one_line_too(upstream: StubUpstream) -> None:
    config = settings(upstream.url, log={"format": "text"})
    async with LocalGateway(config) as gateway:
        await gateway.ask("GET", "/api/x?q=secret", signed_in("u\n1\x1b"))
    [line] = gateway.log_text().splitlines()
    assert " 200 GET /api/x " in line
    assert "user=u\\n1\\x1b" in line
    assert "secret" not in line


async def test_process_logs_to_standard_error_and_loses_no_line(
    upstream: StubUpstream, tmp_path: Path
) -> None:
    async with GatewayProcess(yaml.safe_dump(settings(upstream.url)), tmp_path) as gateway:
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", "/public/x") * 500)
            await client.wait(lambda: client.received.count(b"HTTP/1.1 200 ") == 500)
        assert await gateway.terminate() == 0
        lines = [line for line in gateway.log_lines() if line["event"] == "request"]
    assert len(lines) == 500
    assert len({line["request_id"] for line in lines}) == 500
