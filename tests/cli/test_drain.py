"""`gatelodge drain`: whom it asks, with what, and what a real gateway does then."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.cli.conftest import Gatelodge
from tests.cli.listeners import OK, Listen, tcp
from tests.support.gateway import GatewayProcess

DRAINED = b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\n  "state": "draining"\n}\n'
TOKEN = "oAzCJmWqRdXvTnKb4hYg7uLsEp2fNcQx"
CONFIG = """\
listen: 127.0.0.1:0
admin: {admin}
log: {{format: json}}
drain: {{delay: 0s, timeout: 1s}}
upstreams: {{api: {{endpoints: ["unix:/nowhere.sock"]}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
"""


def test_it_asks_with_what_no_web_page_can_send(gatelodge: Gatelodge, listen: Listen) -> None:
    listening, port = tcp()
    listener = listen(listening, DRAINED)
    said = gatelodge("drain", "--admin", f"127.0.0.1:{port}")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert listener.asked.decode().split("\r\n") == [
        "POST /-/drain HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: close",
        "X-Gatelodge-Admin: drain",
        "Content-Length: 0",
        "",
        "",
    ]


def test_the_token_goes_to_its_listener_alone(gatelodge: Gatelodge, listen: Listen) -> None:
    listening, port = tcp()
    for bound, is_sent in ((f"0.0.0.0:{port}", True), ("0.0.0.0:1", False), ("unix:/a", False)):
        Path("gatelodge.yaml").write_text(CONFIG.format(admin=bound) + f"admin_token: {TOKEN}\n")
        listener = listen(listening.dup(), DRAINED)
        assert gatelodge("drain", "--admin", f"127.0.0.1:{port}").code == 0
        assert (TOKEN.encode() in listener.asked) is is_sent
    listening.close()


@pytest.mark.parametrize("named", ["option", "variable"])
def test_address_and_token_are_the_configuration_s(
    gatelodge: Gatelodge, listen: Listen, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    listening, port = tcp()
    listener = listen(listening, DRAINED)
    file = Path("other.yaml" if named == "option" else "gatelodge.yaml")
    file.write_text(CONFIG.format(admin=f"0.0.0.0:{port}") + f"admin_token: {TOKEN}\n")
    if named == "variable":
        monkeypatch.setenv("GATELODGE_ADMIN", f"0.0.0.0:{port}")
    said = gatelodge("drain", *(["-c", "other.yaml"] if named == "option" else []))
    assert (said.code, said.out, said.err) == (0, "", "")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in listener.asked
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() in listener.asked


def test_a_file_that_became_bad_does_not_keep_it_from_asking(
    gatelodge: Gatelodge, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway runs by the one before; the default address is where most are."""
    listening, port = tcp()
    listener = listen(listening, DRAINED)
    monkeypatch.setattr("proxy.cli.adminask.DEFAULT", f"127.0.0.1:{port}")
    Path("gatelodge.yaml").write_text("listen: nonsense\n")
    said = gatelodge("drain")
    assert said.code == 0
    assert said.err.startswith("gatelodge drain: gatelodge.yaml cannot be used")
    assert b"Authorization" not in listener.asked


@pytest.mark.parametrize("answer", [b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"", OK])
def test_a_refusal_is_one_line_and_1(gatelodge: Gatelodge, listen: Listen, answer: bytes) -> None:
    listening, port = tcp()
    listen(listening, answer)
    said = gatelodge("drain", "--admin", f"127.0.0.1:{port}")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"gatelodge drain: 127.0.0.1:{port} answered ")
    assert said.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_real_gateway_serves_on_and_sends_clients_elsewhere(
    tmp_path: Path, workers: int
) -> None:
    config = CONFIG.format(admin="127.0.0.1:0") + f"workers: {workers}\n"
    async with GatewayProcess(config, tmp_path) as gateway:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "drain"),
            *("--admin", f"127.0.0.1:{gateway.admin_port}"),
        )
        assert await process.wait() == 0
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{gateway.admin_port}/-/ready"
            async with session.get(url) as response:
                assert (response.status, await response.text()) == (503, "draining\n")
            for _ in range(8):
                async with session.get(f"http://127.0.0.1:{gateway.port}/") as response:
                    assert (response.status, response.headers["Connection"]) == (502, "close")
        assert await gateway.terminate() == 0
