"""The cases whose recipe asks for more than sending bytes and looking at the answer."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from tests.hostile.arena import Place, at_once, attack
from tests.hostile.cases import Case, Resolve, Send, fill
from tests.hostile.outcome import Outcome
from tests.hostile.profiles import HOST
from tests.hostile.tokens import SECRET, gzip_bomb, resolver
from tests.support import mint
from tests.support.answers import Answer, parse_answers
from tests.support.client import DEADLINE, RawClient, exchange

Recipe = Callable[[Place, Case, str], Awaitable[Outcome]]

MIB: Final = 1 << 20
_CALM: Final = 20
"""Fences without progress after which a stream counts as standing still."""


def _identity(answer: Answer) -> tuple[str, str]:
    """Return the id and roles that the upstream, which echoes, was told."""
    headers = {name.lower(): value for name, value in answer.json()["headers"]}
    return headers.get("x-user-id", ""), headers.get("x-user-roles", "")


def _request(case: Case, resolve: Resolve) -> bytes:
    """Return everything that `case` sends."""
    return b"".join(fill(s.template, resolve) for s in case.steps if isinstance(s, Send))


def _request_id(answer: Answer) -> str:
    return answer.get("X-Request-Id") or str(answer.json()["request_id"])


async def high_byte(place: Place, case: Case, variant: str) -> Outcome:
    """FR-50: what arrives upstream, if anything, holds the same bytes."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        assert request.values("X-Role-Hint") == ["adm\xffin"]
    return outcome


async def pipelined_flood(place: Place, case: Case, _variant: str) -> Outcome:
    """FR-71: what is pipelined behind a slow request is neither forwarded nor all read."""
    place.upstream.forget()
    place.scripts.release.clear()
    await place.fence()
    before = place.gateway.forget_peak()
    async with RawClient(place.gateway.port) as client:
        client.post(_request(case, resolver()))
        await place.upstream.wait(
            lambda: any(r.path == "/public/slow" for r in place.upstream.requests)
        )
        for _ in range(_CALM):
            assert await place.fence()
        assert place.gateway.peak_rss() - before < 20 * MIB
        assert [r.path for r in place.upstream.requests].count("/public/slow") == 1
        place.scripts.release.set()
        await client.wait(lambda: client.eof or len(client.answers().final) >= 50)
        answers, closed = client.answers(), client.eof
    return await place.outcome(answers, closed=closed, asked_to_close=False)


async def two_cookie_lines(place: Place, case: Case, variant: str) -> Outcome:
    """CK-02: whoever accepts both lines knows the user and passes the other cookie on."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        assert request.values("X-User-Id") == ["u-1"]
        assert request.values("Cookie") == ["a=1"]
    return outcome


async def one_of_two_users(place: Place, case: Case, variant: str) -> Outcome:
    """CK-29: the identity headers come from one of the two sessions, whole."""
    outcome = await attack(place, case, variant)
    for answer in outcome.final:
        if answer.status == 200:
            assert _identity(answer) in [("u-1", "user"), ("a-1", "admin")]
    return outcome


async def known_user(place: Place, case: Case, variant: str) -> Outcome:
    """CK-14, CK-15: whoever accepts the chunks has put the session of u-1 together."""
    outcome = await attack(place, case, variant)
    for answer in outcome.final:
        if answer.status == 200:
            assert _identity(answer) == ("u-1", "user")
    return outcome


async def parallel_users(place: Place, _case: Case, _variant: str) -> Outcome:
    """TK-32: 100 requests at once, two sessions that no cache knows; everybody is who they are."""
    place.upstream.forget()
    users = {("u-1", "user"): "u-1", ("a-1", "admin"): "a-1"}
    tokens = {who: mint.v5(mint.claims(sub, roles=[who[1]]), SECRET) for who, sub in users.items()}
    asked = [*users] * 50
    line = "GET /api/x HTTP/1.1\r\nHost: {}\r\nCookie: {}={}\r\nConnection: close\r\n\r\n"
    answers = await at_once(
        place, [line.format(HOST, mint.V5_COOKIE, tokens[who]).encode() for who in asked]
    )
    assert [_identity(answer) for answer in answers.final] == asked
    return await place.outcome(answers, closed=True, asked_to_close=True)


async def websocket_frame(place: Place, case: Case, variant: str) -> Outcome:
    """UP-11: a small frame is echoed; one of 64 MiB passes, or ends the tunnel, ungathered."""
    place.upstream.forget()
    await place.fence()
    async with RawClient(place.gateway.port) as client:
        await client.send(_request(case, resolver(variant)))
        [answer] = await client.read_answers()
        answers = client.answers()
        answers.rest = b""
        if answer.status == 101:
            accept = answer.get("Sec-WebSocket-Accept")
            assert accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455 section 1.3"
            await client.send(b"\x81\x82\0\0\0\0hi")
            await client.wait(lambda: client.received.endswith(b"\x81\x02hi"))
            before = place.gateway.forget_peak()
            place.scripts.discarded = 0
            await client.send(b"\x82\xff" + struct.pack(">Q", 64 * MIB) + bytes(4))
            for _ in range(16):
                await client.send(bytes(MIB))
            async with asyncio.timeout(DEADLINE):
                while not client.eof and place.scripts.discarded < 15 * MIB:
                    assert await place.fence()
            assert place.gateway.peak_rss() - before < 8 * MIB
    return await place.outcome(answers, closed=False, asked_to_close=False)


async def websocket_outliving_its_session(place: Place, case: Case, _variant: str) -> Outcome:
    """UP-12: the tunnel ends when the session does; here by expiry, 15 s of tolerance included."""
    place.upstream.forget()
    token = mint.v5(mint.claims(age=60, ttl=-12), SECRET)
    async with RawClient(place.gateway.port) as client:
        await client.send(_request(case, lambda _: token.encode()))
        await client.read_until_closed()
        answers = client.answers()
    opcode, code = answers.rest[:1], answers.rest[2:4]
    assert opcode == b"\x88", "a close frame (RFC 6455 section 5.5.1)"
    assert int.from_bytes(code, "big") in (1008, 4401)
    answers.rest = b""
    return await place.outcome(answers, closed=True, asked_to_close=False)


async def body_over_limit(place: Place, case: Case, variant: str) -> Outcome:
    """DS-05: the upstream does not get the body either; its connection is closed on it."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        connection = place.upstream.connections[request.connection]
        await place.upstream.wait(connection.ended.is_set)
        assert not request.complete
        assert request.size <= 10 * MIB
    return outcome


async def compressed_body(place: Place, case: Case, variant: str) -> Outcome:
    """DS-06: 10 MB that would be 10 GB are passed on as they are, in bounded memory."""
    await place.fence()
    before = place.gateway.forget_peak()
    outcome = await attack(place, case, variant)
    assert place.gateway.peak_rss() - before < 8 * MIB
    for request in outcome.requests:
        assert request.digest == hashlib.sha256(gzip_bomb()).hexdigest()
        assert request.values("Content-Encoding") == ["gzip"]
    return outcome


async def deaf_client(place: Place, case: Case, variant: str) -> Outcome:
    """DS-11: a client that reads nothing stops the upstream; its leaving closes that connection."""
    place.upstream.forget()
    await place.fence()
    before = place.gateway.forget_peak()
    async with RawClient(place.gateway.port, window=4096) as client:
        await client.send(_request(case, resolver(variant)))
        streamed = await _standstill(place)
        assert streamed < 64 * MIB  # what the kernel's four socket buffers can hold
        assert place.gateway.peak_rss() - before < 8 * MIB
        client.read_on()
        await client.wait(lambda: b"\r\n\r\n" in client.received)
        answers = parse_answers(client.received, eof=True)
    [request] = [r for r in place.upstream.requests if r.path == "/public/big"]
    await place.upstream.wait(place.upstream.connections[request.connection].ended.is_set)
    return await place.outcome(answers, closed=False, asked_to_close=False)


async def _standstill(place: Place) -> int:
    """Wait until /public/big moves no more; return how many bytes of it the gateway took."""
    calm, streamed = 0, 0
    async with asyncio.timeout(DEADLINE):
        while calm < _CALM:
            assert await place.fence()
            calm = calm + 1 if place.scripts.streamed == streamed > 0 else 0
            streamed = place.scripts.streamed
    return streamed


async def escaped_log(place: Place, case: Case, variant: str) -> Outcome:
    """LK-07: one access line for the request, and no raw control character in the log."""
    outcome = await attack(place, case, variant)
    request_id = _request_id(outcome.final[0])
    await place.gateway.wait_for_log(lambda line: _is_access(line, request_id))
    lines = [line for line in place.gateway.log_lines() if _is_access(line, request_id)]
    assert len(lines) == 1
    assert "\x1b" not in place.gateway.log_text()
    return outcome


async def discreet_log(place: Place, case: Case, variant: str) -> Outcome:
    """LK-08: neither the query, nor Authorization, nor a cookie is in the log."""
    outcome = await attack(place, case, variant)
    request_id = _request_id(outcome.final[0])
    await place.gateway.wait_for_log(lambda line: _is_access(line, request_id))
    token = resolver()("USER").decode()
    text = place.gateway.log_text()
    assert [s for s in ("SECRET1", "SECRET2", SECRET, token, token[-40:]) if s in text] == []
    return outcome


def _is_access(line: dict[str, object], request_id: str) -> bool:
    return line.get("request_id") == request_id and "status" in line


async def extra_bytes(place: Place, case: Case, variant: str) -> Outcome:
    """LK-10: both requests are answered, and the connection with the extra bytes is given up."""
    outcome = await attack(place, case, variant)
    assert outcome.statuses == [200, 200]
    await _given_up(place, outcome, "/public/extra-bytes")
    return outcome


async def hostile_upstream(place: Place, case: Case, variant: str) -> Outcome:
    """UR: the upstream's connection is not used again; what is cut short does not look whole.

    Kept connections are closed before, because a connection that ends without an answer may only be
    tried again when it had been kept.
    """
    place.upstream.close_idle()
    outcome = await attack(place, case, variant)
    if case.id == "UR-11":
        assert [answer.status for answer in outcome.answers.all] == [103, 200]
        return outcome
    await _given_up(place, outcome, outcome.requests[0].path)
    if case.id == "UR-06":
        assert not any(answer.complete for answer in outcome.final if answer.status == 200)
    return outcome


async def _given_up(place: Place, outcome: Outcome, path: str) -> None:
    [request] = [request for request in outcome.requests if request.path == path]
    connection = place.upstream.connections[request.connection]
    await place.upstream.wait(connection.ended.is_set)
    assert [r.path for r in connection.requests] == [path]


async def rebound_admin(place: Place, case: Case, variant: str) -> Outcome:
    """EP-05: a page whose name was rebound to our address reads nothing from the admin listener."""
    outcome = await attack(place, case, variant)
    for path in ("/-/status", "/-/status.json", "/-/config", "/-/help"):
        request = f"GET {path} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"
        answer = await exchange(place.gateway.admin_port, request.encode())
        assert answer.status in case.statuses, f"{path}: {answer.status}"
        assert SECRET.encode() not in answer.body
    return outcome


async def row_that_goes(place: Place, case: Case, variant: str) -> Outcome:
    """DB-07: what was let through a moment ago is not, once the row is gone and the cache's bound
    (here 0 s) is over.
    """
    before = await attack(place, case, variant)
    assert [answer.status for answer in before.answers.all] == [200]
    assert place.database is not None
    token = resolver()("DB_DELETED").decode()
    await place.database.run(f"delete from sessions where \"sessionToken\" = '{token}'")
    return await attack(place, case, variant)


async def database_away(place: Place, case: Case, variant: str) -> Outcome:
    """DB-10: the fence behind the attack is a public route, and is served as ever."""
    assert place.database is not None
    server, known = place.database.server, _times_up(place)
    await asyncio.to_thread(server.stop)
    try:
        return await attack(place, case, variant)
    finally:
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(DEADLINE):
            while _times_up(place) == known:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)


def _times_up(place: Place) -> int:
    """Return how often the gateway has found its database."""
    return place.gateway.log_text().count('"session store is up"')


RECIPES: Final[dict[str, Recipe]] = {
    "DB-07": row_that_goes,
    "DB-10": database_away,
    "FR-50": high_byte,
    "FR-71": pipelined_flood,
    "CK-02": two_cookie_lines,
    "CK-14": known_user,
    "CK-15": known_user,
    "CK-29": one_of_two_users,
    "TK-32": parallel_users,
    "UP-11": websocket_frame,
    "UP-12": websocket_outliving_its_session,
    "DS-05": body_over_limit,
    "DS-06": compressed_body,
    "DS-11": deaf_client,
    "LK-07": escaped_log,
    "LK-08": discreet_log,
    "LK-10": extra_bytes,
    **{f"UR-{number:02}": hostile_upstream for number in (1, 3, 5, 6, 8, 9, 10, 11)},
    "EP-05": rebound_admin,
}
"""Case -> how it is run, where `attack` alone is not enough."""

PLACES: Final = {"DS-02": "hasty", "DS-03": "hasty"}
"""Case -> the profile that it takes instead of its own."""
