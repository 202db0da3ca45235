"""Requests and rules for tests that need neither a socket nor an event loop.

Rules come from the text of a configuration, as an operator writes it, so that a test says what it
means in the terms of the contract.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import cache
from typing import Any, Final, TypeVar

from proxy.config.load import loads
from proxy.config.model import Config, PrincipalPaths
from proxy.core.client import Client
from proxy.core.cors import Cors
from proxy.core.decision import Permit, Reply, decide
from proxy.core.exchange import Exchange
from proxy.core.head import RequestHead
from proxy.core.identity import PrincipalReader
from proxy.core.rules import Rules, compile_rules
from proxy.core.session import Credential, Session
from proxy.errors import ProxyError, SessionInvalid
from tests.support import mint

T = TypeVar("T")

NOW: Final = 1_800_000_000.0
SECRET: Final = "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"
OTHER_SECRET: Final = "7d21c9e05bd34f8ea6f1c23b9e8d7a604f5b1c2d3e4f5a6b7c8d9e0f1a2b3c4d"
COOKIE: Final = mint.V5_COOKIE
HOST: Final = "api.example.test"
APP: Final = "https://app.example.test"
STRANGER: Final = "203.0.113.7"
PROXY: Final = "10.0.0.1"
SEED: Final = "0123456789abcdef" * 3
WEBSOCKET_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", WEBSOCKET_KEY),
)


def head(
    *fields: tuple[str, str],
    method: str = "GET",
    target: str = "/",
    minor: int = 1,
    peer: str = STRANGER,
    tls: bool = False,
    host: str | None = HOST,
) -> RequestHead:
    """Return a request's head; `Host` comes first unless `host` is None."""
    named = () if host is None else (("Host", host),)
    raw = tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in (*named, *fields))
    return RequestHead(method, target, minor, raw, peer, tls)


def exchange(request: RequestHead, cors: Cors | None = None, **changes: Any) -> Exchange:
    """Return the exchange that `request` begins, as the gateway begins it; then set `changes`."""
    client = Client(request.peer, "https" if request.tls else "http", trusted=False)
    x = Exchange(request, client, cors or Cors(None), NOW, 100.0, SEED, request_id=SEED[:32])
    for name, value in changes.items():
        setattr(x, name, value)
    return x


@cache
def config_of(text: str) -> Config:
    """Return the configuration that is written in `text`."""
    return loads(text, "test.yaml", {}).config


@cache
def rules_of(text: str) -> Rules:
    """Return the rules that `text` compiles to."""
    return compile_rules(config_of(text))


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait; no event loop runs it."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


def judge(
    rules: Rules, request: RequestHead, resolver: FakeResolver | None = None
) -> tuple[Exchange, Permit | Reply | ProxyError]:
    """Return the exchange of `request` and what is decided, errors included."""
    x = exchange(request, rules.cors)
    try:
        return x, finish(decide(x, rules, (resolver or FakeResolver({})).resolve))
    except ProxyError as error:
        return x, error


def session(sub: str = "u-1", *, expires: float | None = None, **claims: Any) -> Session:
    """Return the session of a user; `email`, `name` and `roles` are read from the claims."""
    principal = _READER.read({"sub": sub, **claims})
    assert principal is not None
    return Session(principal, "authjs-v5", expires)


_READER: Final = PrincipalReader(PrincipalPaths())


class FakeResolver:
    """Knows tokens by heart: each stands for a session or for what is raised.

    `asked` are the credentials that it was asked about, with the times. What it does not know is
    SessionInvalid, as for the real one.
    """

    def __init__(self, known: dict[str, Session | Exception]) -> None:
        self._known = known
        self.asked: list[tuple[Credential, float]] = []

    async def resolve(self, credential: Credential, now: float) -> Session:
        self.asked.append((credential, now))
        found = self._known.get(credential.token, SessionInvalid("nobody knows it"))
        if isinstance(found, Exception):
            raise found
        return found


def token(sub: str = "u-1", *, secret: str = SECRET, cookie: str = COOKIE, **claims: Any) -> str:
    """Return a session token of Auth.js v5 that was made a minute before NOW and lasts an hour."""
    times = {"iat": int(NOW) - 60, "exp": int(NOW) + 3600}
    return mint.v5({"sub": sub, **times, **claims}, secret, cookie=cookie)


def lines_of(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the first line of a head and its fields; every line must be whole and safe."""
    assert data.endswith(b"\r\n\r\n")
    first, *lines = data[:-4].decode("latin-1").split("\r\n")
    fields = []
    for line in (first, *lines):
        assert "\r" not in line
        assert "\n" not in line
        assert "\0" not in line
    for line in lines:
        name, mark, value = line.partition(": ")
        assert name
        assert mark
        fields.append((name, value))
    return first, fields


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    """Return the values of all fields called `name`, in any case and in order."""
    return [value for key, value in fields if key.lower() == name.lower()]
