"""The cases whose recipe asks for more than sending bytes and looking at the answer."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from tests.hostile.arena import Place, at_once, attack
from tests.hostile.cases import Case, Resolve, Send, fill
from tests.hostile.outcome import NotAsExpected, Outcome, demand
from tests.hostile.profiles import HOST
from tests.hostile.tokens import SECRET, gzip_bomb, resolver
from tests.support import mint
from tests.support.answers import Answer, parse_answers
from tests.support.client import DEADLINE, RawClient, exchange
from tests.support.postgres import Database
from tests.support.upstream import Recorded

Recipe = Callable[[Place, Case, str], Awaitable[Outcome]]
"""Raises NotAsExpected, TimeoutError or OSError when there is nothing more to be judged."""

MIB: Final = 1 << 20
_CALM: Final = 20
"""Fences without progress after which a stream counts as standing still."""


def _identity(answer: Answer) -> tuple[str, str]:
    """Return the id and roles that the upstream, which echoes, was told."""
    try:
        headers = {name.lower(): value for name, value in answer.json()["headers"]}
    except (LookupError, TypeError, ValueError):
        raise NotAsExpected(f"{answer.status} that is not the upstream's own answer") from None
    return headers.get("x-user-id", ""), headers.get("x-user-roles", "")


def _request(case: Case, resolve: Resolve) -> bytes:
    """Return everything that `case` sends."""
    return b"".join(fill(s.template, resolve) for s in case.steps if isinstance(s, Send))


def _request_id(outcome: Outcome) -> str:
    demand(bool(outcome.final), "no answer")
    answer = outcome.final[0]
    return answer.get("X-Request-Id") or str(answer.json()["request_id"])


async def high_byte(place: Place, case: Case, variant: str) -> Outcome:
    """FR-50: what arrives upstream, if anything, holds the same bytes."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        hint = request.values("X-Role-Hint")
        outcome.expect(hint == ["adm\xffin"], f"the upstream got X-Role-Hint {hint}")
    return outcome


async def pipelined_flood(place: Place, case: Case, _variant: str) -> Outcome:
    """FR-71: what is pipelined behind a slow request is neither forwarded nor all read."""
    place.upstream.forget()
    place.scripts.release.clear()
    demand(await place.fence(), "the gateway does not serve others")
    try:
        async with place.client() as client:
            with place.bounded_memory(20 * MIB):
                client.post(_request(case, place.resolver()))
                await place.upstream.wait(lambda: _slow_ones(place) > 0, deadline=place.patience)
                for _ in range(_CALM):
                    demand(await place.fence(), "others are not served while it lasts")
                forwarded = _slow_ones(place)
            demand(forwarded == 1, f"{forwarded} requests were forwarded before the first's answer")
            place.scripts.release.set()
            await client.wait(
                lambda: client.eof or len(client.answers().final) >= 50, deadline=place.deadline
            )
            answers, closed = client.answers(), client.eof
    finally:
        place.scripts.release.set()
    # The gateway may see late that the client has left, and forward meanwhile.
    await _standstill(place, lambda: _slow_ones(place))
    return await place.outcome(answers, closed=closed, asked_to_close=False)


def _slow_ones(place: Place) -> int:
    return [request.path for request in place.upstream.requests].count("/public/slow")


async def two_cookie_lines(place: Place, case: Case, variant: str) -> Outcome:
    """CK-02: whoever accepts both lines knows the user and passes the other cookie on."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        user, cookies = request.values("X-User-Id"), request.values("Cookie")
        outcome.expect(user == ["u-1"], f"the upstream got X-User-Id {user}")
        outcome.expect(cookies == ["a=1"], "the upstream got other cookies than a=1")
    return outcome


async def one_of_two_users(place: Place, case: Case, variant: str) -> Outcome:
    """CK-29: the identity headers come from one of the two sessions, whole."""
    return await _known(place, case, variant, [("u-1", "user"), ("a-1", "admin")])


async def known_user(place: Place, case: Case, variant: str) -> Outcome:
    """CK-14, CK-15: whoever accepts the chunks has put the session of u-1 together."""
    return await _known(place, case, variant, [("u-1", "user")])


async def _known(place: Place, case: Case, variant: str, users: list[tuple[str, str]]) -> Outcome:
    outcome = await attack(place, case, variant)
    for answer in outcome.final:
        if answer.status == 200:
            user = _identity(answer)
            outcome.expect(user in users, f"the upstream was told of {user}, not one of {users}")
    return outcome


async def parallel_users(place: Place, _case: Case, _variant: str) -> Outcome:
    """TK-32: 100 requests at once, two sessions that no cache knows; everybody is who they are."""
    place.upstream.forget()
    users = {("u-1", "user"): "u-1", ("a-1", "admin"): "a-1"}
    tokens = {who: place.session(mint.claims(sub, roles=[who[1]])) for who, sub in users.items()}
    asked = [*users] * 50
    line = "GET /api/x HTTP/1.1\r\nHost: {}\r\nCookie: {}={}\r\nConnection: close\r\n\r\n"
    answers = await at_once(
        place, [line.format(HOST, mint.V5_COOKIE, tokens[who]).encode() for who in asked]
    )
    demand(len(answers.final) == len(asked), f"{len(answers.final)} answers, not {len(asked)}")
    outcome = await place.outcome(answers, closed=True, asked_to_close=True)
    told = [_identity(answer) for answer in answers.final if answer.status == 200]
    outcome.expect(told == asked, "somebody's request was told to the upstream as somebody else's")
    return outcome


async def websocket_frame(place: Place, case: Case, variant: str) -> Outcome:
    """UP-11: a small frame is echoed; one of 64 MiB passes, or ends the tunnel, ungathered."""
    place.upstream.forget()
    demand(await place.fence(), "the gateway does not serve others")
    async with place.client() as client:
        await client.send(_request(case, place.resolver(variant)))
        final = await client.read_answers(deadline=place.patience)
        answers = client.answers()
        answers.rest = b""
        if [answer.status for answer in final] == [101]:
            accept = final[0].values("Sec-WebSocket-Accept")
            # RFC 6455 section 1.3
            demand(accept == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "101 with another key's accept")
            await client.send(b"\x81\x82\0\0\0\0hi")
            await client.wait(
                lambda: client.received.endswith(b"\x81\x02hi"), deadline=place.deadline
            )
            await _large_frame(place, client)
    return await place.outcome(answers, closed=False, asked_to_close=False)


async def _large_frame(place: Place, client: RawClient) -> None:
    with place.bounded_memory(8 * MIB):
        place.scripts.discarded = 0
        await client.send(b"\x82\xff" + struct.pack(">Q", 64 * MIB) + bytes(4))
        for _ in range(16):
            await client.send(bytes(MIB), deadline=place.deadline)
        async with asyncio.timeout(place.deadline):
            while not client.eof and place.scripts.discarded < 15 * MIB:
                demand(await place.fence(), "others are not served while it lasts")


async def websocket_outliving_its_session(place: Place, case: Case, _variant: str) -> Outcome:
    """UP-12: the tunnel ends when the session does; here by expiry, 15 s of tolerance included."""
    place.upstream.forget()
    token = place.session(mint.claims(age=60, ttl=-12, roles=["user"]))
    async with place.client() as client:
        await client.send(_request(case, lambda _: token.encode()))
        final = await client.read_answers(deadline=place.patience)
        demand(client.eof or bool(final), "no answer")
        await client.read_until_closed(deadline=place.deadline)
        answers = client.answers()
    # A close frame (RFC 6455 section 5.5.1) with its code.
    opcode, code = answers.rest[:1], int.from_bytes(answers.rest[2:4], "big")
    answers.rest = b""
    outcome = await place.outcome(answers, closed=True, asked_to_close=False)
    if outcome.statuses == [101]:
        outcome.expect(opcode == b"\x88", "the tunnel ended without a close frame")
        outcome.expect(code in (1008, 4401), f"the tunnel was closed with code {code}")
    return outcome


async def body_over_limit(place: Place, case: Case, variant: str) -> Outcome:
    """DS-05: the upstream does not get the body either; its connection is closed on it."""
    outcome = await attack(place, case, variant)
    for request in outcome.requests:
        connection = place.upstream.connections[request.connection]
        await place.upstream.wait(connection.ended.is_set, deadline=place.deadline)
        outcome.expect(not request.complete, "the upstream got the whole body")
        outcome.expect(request.size <= 10 * MIB, f"the upstream got {request.size} bytes of it")
    return outcome


async def compressed_body(place: Place, case: Case, variant: str) -> Outcome:
    """DS-06: 10 MB that would be 10 GB are passed on as they are, in bounded memory."""
    demand(await place.fence(), "the gateway does not serve others")
    with place.bounded_memory(8 * MIB):
        outcome = await attack(place, case, variant)
    for request in outcome.requests:
        same = request.digest == hashlib.sha256(gzip_bomb()).hexdigest()
        outcome.expect(same, f"the upstream got another body, of {request.size} bytes")
        coding = request.values("Content-Encoding")
        outcome.expect(coding == ["gzip"], f"the upstream got Content-Encoding {coding}")
    return outcome


async def deaf_client(place: Place, case: Case, variant: str) -> Outcome:
    """DS-11: a client that reads nothing stops the upstream; its leaving closes that connection."""
    place.upstream.forget()
    demand(await place.fence(), "the gateway does not serve others")
    async with place.client(window=4096) as client:
        with place.bounded_memory(8 * MIB):
            await client.send(_request(case, place.resolver(variant)))
            streamed = await _standstill(place, lambda: place.scripts.streamed)
        # What the kernel's four socket buffers can hold.
        demand(streamed < 64 * MIB, f"{streamed >> 20} MiB were taken for a client that is deaf")
        client.read_on()
        await client.wait(lambda: b"\r\n\r\n" in client.received, deadline=place.deadline)
        answers = parse_answers(client.received, eof=True)
    await _ended(place, "/public/big")
    return await place.outcome(answers, closed=False, asked_to_close=False)


async def _standstill(place: Place, progress: Callable[[], int]) -> int:
    """Wait until `progress()` has begun and moves no more; return it."""
    calm, seen = 0, 0
    async with asyncio.timeout(place.deadline):
        while calm < _CALM:
            demand(await place.fence(), "others are not served while it lasts")
            calm = calm + 1 if progress() == seen > 0 else 0
            seen = progress()
    return seen


async def escaped_log(place: Place, case: Case, variant: str) -> Outcome:
    """LK-07: one access line for the request, and no raw control character in the log."""
    outcome = await attack(place, case, variant)
    request_id = _request_id(outcome)
    await place.gateway.wait_for_log(lambda line: _is_access(line, request_id))
    lines = [line for line in place.gateway.log_lines() if _is_access(line, request_id)]
    outcome.expect(len(lines) == 1, f"{len(lines)} access lines, not one")
    outcome.expect("\x1b" not in place.gateway.log_text(), "an escape character is in the log")
    return outcome


async def discreet_log(place: Place, case: Case, variant: str) -> Outcome:
    """LK-08: neither the query, nor Authorization, nor a cookie is in the log."""
    outcome = await attack(place, case, variant)
    request_id = _request_id(outcome)
    await place.gateway.wait_for_log(lambda line: _is_access(line, request_id))
    token = place.resolver()("USER").decode()
    text = place.gateway.log_text()
    for secret in ("SECRET1", "SECRET2", SECRET, token, token[-40:]):
        outcome.expect(secret not in text, f"the log holds what begins with {secret[:7]}")
    return outcome


def _is_access(line: dict[str, object], request_id: str) -> bool:
    return line.get("request_id") == request_id and "status" in line


async def extra_bytes(place: Place, case: Case, variant: str) -> Outcome:
    """LK-10: both requests are answered, and the connection with the extra bytes is given up."""
    outcome = await attack(place, case, variant)
    outcome.expect(outcome.statuses == [200, 200], f"answers {outcome.statuses}, not [200, 200]")
    await _given_up(place, outcome, "/public/extra-bytes")
    return outcome


async def hostile_upstream(place: Place, case: Case, variant: str) -> Outcome:
    """UR: the upstream's connection is not used again; what is cut short does not look whole.

    Kept connections are ended before, because a connection that ends without an answer may only be
    tried again when it had been kept.
    """
    try:
        await place.upstream.retire_idle(deadline=place.deadline)
    except TimeoutError:
        raise NotAsExpected("it keeps connections open that its upstream has ended") from None
    outcome = await attack(place, case, variant)
    if case.id == "UR-11":
        statuses = [answer.status for answer in outcome.answers.all]
        outcome.expect(statuses == [103, 200], f"answers {statuses}, not [103, 200]")
        return outcome
    demand(bool(outcome.requests), "the upstream was not reached")
    await _given_up(place, outcome, outcome.requests[0].path)
    if case.id == "UR-06":
        whole = any(answer.complete for answer in outcome.final if answer.status == 200)
        outcome.expect(not whole, "the client cannot see that the answer was cut short")
    return outcome


async def _given_up(place: Place, outcome: Outcome, path: str) -> None:
    """Hold that the upstream's connection was closed after the one request for `path`."""
    request = await _ended(place, path)
    paths = [r.path for r in place.upstream.connections[request.connection].requests]
    outcome.expect(paths == [path], f"its connection to the upstream was used for {paths}")


async def _ended(place: Place, path: str) -> Recorded:
    """Wait until the connection with the one request for `path` has ended."""
    requests = [request for request in place.upstream.requests if request.path == path]
    demand(len(requests) == 1, f"the upstream got {len(requests)} requests for {path}, not one")
    connection = place.upstream.connections[requests[0].connection]
    try:
        await place.upstream.wait(connection.ended.is_set, deadline=place.deadline)
    except TimeoutError:
        raise NotAsExpected("its connection to the upstream stays open") from None
    return requests[0]


async def rebound_admin(place: Place, case: Case, variant: str) -> Outcome:
    """EP-05: a page whose name was rebound to our address reads nothing from the admin listener."""
    outcome = await attack(place, case, variant)
    for path in ("/-/status", "/-/status.json", "/-/config", "/-/help"):
        request = f"GET {path} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"
        answer = await exchange(place.gateway.admin_port, request.encode())
        outcome.expect(answer.status in case.statuses, f"{path}: status {answer.status}")
        outcome.expect(SECRET.encode() not in answer.body, f"{path} holds the secret")
    return outcome


def _database(place: Place) -> Database:
    assert place.database is not None, "this case needs the database of our own gateway"
    return place.database


async def row_that_goes(place: Place, case: Case, variant: str) -> Outcome:
    """DB-07: what was let through a moment ago is not, once the row is gone and the cache's bound
    (here 0 s) is over.
    """
    before = await attack(place, case, variant)
    demand(before.statuses == [200], f"with the row there: {before.statuses}, not [200]")
    token = resolver()("DB_DELETED").decode()
    await _database(place).run(f"delete from sessions where \"sessionToken\" = '{token}'")
    return await attack(place, case, variant)


async def database_away(place: Place, case: Case, variant: str) -> Outcome:
    """DB-10: the fence behind the attack is a public route, and is served as ever."""
    server, known = _database(place).server, _times_up(place)
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

_OUR_LOG: Final = "its log is read"
_OUR_DATABASE: Final = "its database is ours"

NEEDS_OUR_PROCESS: Final = {
    "LK-07": _OUR_LOG,
    "LK-08": _OUR_LOG,
    "EP-05": "its admin listener is attacked",
    **dict.fromkeys(("DB-01", "DB-04", "DB-07", "DB-08", "DB-09", "DB-10"), _OUR_DATABASE),
}
"""Case -> why it is run against gateways that we start, and no others."""
