"""Scenario hot: one signed-in user's browser asks for the same small JSON answer again and again.

It shows what a request costs when every cache is warm: the floor of the proxy's price.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Final

from bench import tokens
from bench.contestants import Contestant
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


def request(cookie: tuple[str, str]) -> bytes:
    """Return the bytes of the request with `cookie` (name and value) among its cookies."""
    lines = [f"{name}: {value}" for name, value in _headers(cookie).items()]
    return "\r\n".join(["GET /api/me HTTP/1.1", *lines, "", ""]).encode()


def check(contestant: Contestant, port: int) -> None:
    """Raise BenchError unless the contestant does its job, so that no number flatters anybody."""
    answer = _fetch(port, "/api/me", contestant.cookie)
    if (answer.status, answer.body) != (200, BODY):
        raise BenchError(f"{contestant.name} answered {answer.status}: {answer.body[:300]!r}")
    if contestant.guards:
        refused = _fetch(port, "/api/me", None)
        if refused.status != 401:
            raise BenchError(f"{contestant.name} answered {refused.status} without a session")
    if contestant.identifies:
        _check_identity(contestant, port)


def _check_identity(contestant: Contestant, port: int) -> None:
    answer = _fetch(port, "/api/seen", contestant.cookie)
    seen = json.loads(answer.body)
    problems = {
        "the upstream does not see the user": seen["user"] != tokens.USER_ID,
        "the upstream sees the session cookie": contestant.cookie[0] in seen["cookie"],
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
