"""Browsers that ask for a small JSON answer, again and again, in three scenarios.

- hot: one user, always the same request. Every cache is warm: the floor of the price.
- traced: a thousand users, each request with a traceparent of its own, as behind a tracing proxy.
- fresh: one user, each request for another target, so that nobody has seen its head before.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, repeat
from typing import Final

from bench import tokens
from bench.contestants import Contestant, Cookies
from bench.errors import BenchError

BODY: Final = (
    b'{"id":"usr_01HZY3V9K7Q4W8","name":"Ada Lovelace","email":"ada@example.com",'
    b'"roles":["admin","editor"],"plan":"team","since":"2026-01-02T03:04:05Z"}'
)
_ORIGIN: Final = "https://app.example.com"
# What Chrome sends with a fetch() across origins, as it arrives behind a load balancer.
_HEADERS: Final = {
    "Host": "api.example.com",
    "Connection": "keep-alive",
    "sec-ch-ua-platform": '"Linux"',
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36",
    "Accept": "application/json, text/plain, */*",
    "sec-ch-ua": '"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"',
    "sec-ch-ua-mobile": "?0",
    "Origin": _ORIGIN,
    "Sec-Fetch-Site": "same-site",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Referer": f"{_ORIGIN}/",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
}
_OTHER_COOKIES: Final = ("theme=dark", "_ga=GA1.1.1204567890.1764000000")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def requests(scenario: str, cookies: Cookies) -> Iterator[bytes]:
    """Return the requests of a scenario, without end, by users with these session cookies."""
    if scenario == "traced":
        return _traced([request(cookie)[:-2] for cookie in cookies])
    one = request(cookies[0])
    return repeat(one) if scenario == "hot" else _fresh(one)


def _traced(heads: Sequence[bytes]) -> Iterator[bytes]:
    for number, head in enumerate(cycle(heads), start=1):
        yield b"%btraceparent: 00-%032x-%016x-01\r\n\r\n" % (head, number, number)


def _fresh(one: bytes) -> Iterator[bytes]:
    method, _, rest = one.partition(b" HTTP/1.1\r\n")
    for number in count():
        yield b"%b?page=%d HTTP/1.1\r\n%b" % (method, number, rest)


def request(cookie: tuple[str, str]) -> bytes:
    """Return the bytes of the request with `cookie` (name and value) among its cookies."""
    lines = [f"{name}: {value}" for name, value in _headers(cookie).items()]
    return "\r\n".join(["GET /api/me HTTP/1.1", *lines, "", ""]).encode()


def check(contestant: Contestant, port: int) -> None:
    """Raise BenchError unless the contestant does its job, so that no number flatters anybody."""
    answer = _fetch(port, "/api/me?page=1", contestant.cookies[-1])
    if (answer.status, answer.body) != (200, BODY):
        raise BenchError(f"{contestant.name} answered {answer.status}: {answer.body[:300]!r}")
    answer = _fetch(port, "/api/me", contestant.cookies[0])
    if (answer.status, answer.body) != (200, BODY):
        raise BenchError(f"{contestant.name} answered {answer.status}: {answer.body[:300]!r}")
    if contestant.guards:
        refused = _fetch(port, "/api/me", None)
        if refused.status != 401:
            raise BenchError(f"{contestant.name} answered {refused.status} without a session")
    if contestant.identifies:
        _check_identity(contestant, port)


def _check_identity(contestant: Contestant, port: int) -> None:
    answer = _fetch(port, "/api/seen", contestant.cookies[0])
    seen = json.loads(answer.body)
    problems = {
        "the upstream does not see the user": seen["user"] != tokens.USER_ID,
        "the upstream sees the session cookie": contestant.cookies[0][0] in seen["cookie"],
        "the other cookies are gone": any(one not in seen["cookie"] for one in _OTHER_COOKIES),
        "there is no request id": not seen["request_id"],
        "CORS is off": answer.headers["Access-Control-Allow-Origin"] != _ORIGIN,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise BenchError(f"{contestant.name}: {problem}")


def _headers(cookie: tuple[str, str] | None) -> dict[str, str]:
    before, after = _OTHER_COOKIES
    session = [] if cookie is None else ["=".join(cookie)]
    return {**_HEADERS, "Cookie": "; ".join([before, *session, after])}


def _fetch(port: int, path: str, cookie: tuple[str, str] | None) -> _Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=_headers(cookie))
        answer = connection.getresponse()
        return _Answer(answer.status, answer.headers, answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"port {port} does not answer: {error!r}") from error
    finally:
        connection.close()
