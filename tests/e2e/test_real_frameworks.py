"""Sessions minted by the real npm packages open the API; those of another app do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Mint
from tests.support.client import exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

SECRET = "8c2f0a51d7e94b6f3e1d5a7c9b0f2e4d6a8c0b1d3f5e7a9c"
OTHER = "1f3b5d7a9c8e6f4d2b0a1c3e5f7d9b8a6c4e2f0d1b3a5c7e"
CLAIMS = {"sub": "u-42", "name": "Ada Łovelace", "email": "ada@example.com", "role": "admin"}

# What each framework calls its cookie over http and over https.
COOKIES = [
    ("next-auth", "next-auth.session-token"),
    ("next-auth", "__Secure-next-auth.session-token"),
    ("@auth/core", "authjs.session-token"),
    ("@auth/core", "__Secure-authjs.session-token"),
]


@pytest.fixture
async def upstream() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as server:
        yield server


@pytest.fixture
async def gateway(upstream: StubUpstream, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    config = f"""
        listen: 127.0.0.1:0
        admin: 127.0.0.1:0
        log: {{format: json}}
        drain: {{delay: 0s}}
        sessions:
          web: {{kind: authjs, secret: {SECRET}, bearer: true}}
        upstreams:
          api: {{endpoints: ["http://127.0.0.1:{upstream.port}"]}}
        routes:
          - {{path: /**, upstream: api, require: {{roles: [admin]}}}}
    """
    async with GatewayProcess(config, tmp_path) as process:
        yield process


async def status_of(gateway: GatewayProcess, header: str) -> tuple[int, str | None]:
    """Send one GET with `header`; return the status and the code of a problem."""
    request = f"GET /me HTTP/1.1\r\nHost: api.test\r\n{header}\r\nConnection: close\r\n\r\n"
    answer = await exchange(gateway.port, request.encode())
    code = answer.json()["code"] if answer.status >= 400 else None
    return answer.status, code


@pytest.mark.parametrize(("framework", "cookie"), COOKIES, ids=[name for _, name in COOKIES])
async def test_a_session_of_the_real_framework_opens_the_api(
    mint: Mint, gateway: GatewayProcess, upstream: StubUpstream, framework: str, cookie: str
) -> None:
    token = mint(framework, SECRET, cookie, CLAIMS)

    assert await status_of(gateway, f"Cookie: theme=dark; {cookie}={token}") == (200, None)

    [request] = upstream.requests
    assert request.values("X-User-Id") == ["u-42"]
    assert request.values("X-User-Email") == ["ada@example.com"]
    assert request.values("X-User-Name") == ["Ada %C5%81ovelace"]
    assert request.values("X-User-Roles") == ["admin"]
    assert request.values("Cookie") == ["theme=dark"]


@pytest.mark.parametrize(("framework", "cookie"), COOKIES, ids=[name for _, name in COOKIES])
async def test_a_session_with_another_secret_is_refused(
    mint: Mint, gateway: GatewayProcess, upstream: StubUpstream, framework: str, cookie: str
) -> None:
    token = mint(framework, OTHER, cookie, CLAIMS)

    answer = await status_of(gateway, f"Cookie: {cookie}={token}")

    assert answer == (401, "session_invalid")
    assert upstream.requests == []


@pytest.mark.parametrize("framework", ["next-auth", "@auth/core"])
async def test_a_mobile_app_sends_the_same_token_as_bearer(
    mint: Mint, gateway: GatewayProcess, upstream: StubUpstream, framework: str
) -> None:
    token = mint(framework, SECRET, "__Secure-authjs.session-token", CLAIMS)

    assert await status_of(gateway, f"Authorization: Bearer {token}") == (200, None)

    [request] = upstream.requests
    assert request.values("X-User-Id") == ["u-42"]
    assert request.values("Authorization") == []


@pytest.mark.parametrize(
    "purpose", ["authjs.state", "__Secure-authjs.pkce.code_verifier", "authjs.nonce"]
)
async def test_what_the_framework_seals_for_a_sign_in_is_no_session(
    mint: Mint, gateway: GatewayProcess, upstream: StubUpstream, purpose: str
) -> None:
    """CVE-2023-48309: even with a session's claims in it."""
    token = mint("@auth/core", SECRET, purpose, CLAIMS)

    for cookie in ("authjs.session-token", "next-auth.session-token"):
        answer = await status_of(gateway, f"Cookie: {cookie}={token}")
        assert answer == (401, "session_invalid")
    assert await status_of(gateway, f"Authorization: Bearer {token}") == (401, "session_invalid")
    assert upstream.requests == []
