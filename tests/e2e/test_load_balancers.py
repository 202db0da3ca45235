"""Real HAProxy and nginx around the real gateway: in front of it they speak the PROXY protocol,
behind it one of them ends TLS and demands a certificate.

The client connects from 127.0.0.2, the load balancers from 127.0.0.1, which alone is trusted.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.answers import Answer, parse_answers
from tests.support.balancers import Balancer
from tests.support.certificates import Authority
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.upstream import StubUpstream

CLIENT: Final = "127.0.0.2"
REQUEST: Final = (
    b"GET /public/x HTTP/1.1\r\nHost: api.example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
)
CONFIG: Final = """\
listen: {{address: 127.0.0.1:0, proxy_protocol: true{tls}}}
admin: 127.0.0.1:0
health_path: /healthz
trusted_proxies: [127.0.0.1]
upstreams: {{api: {{endpoints: ["{upstream}"]}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
log: {{format: json}}
drain: {{delay: 0s, timeout: 5s}}
"""
HAPROXY: Final = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option log-health-checks
frontend front
    bind 127.0.0.1:@PORT@
    default_backend back
backend back
    option httpchk
    http-check send meth GET uri /healthz
    server gatelodge 127.0.0.1:{port} {send} check inter 100ms {check}
"""
NGINX: Final = """\
events {{}}
stream {{
    server {{
        listen 127.0.0.1:@PORT@;
        proxy_pass 127.0.0.1:{port};
        proxy_protocol on;
    }}
}}
"""
HAPROXY_SENDS: Final = {
    "1": "send-proxy",
    "2": "send-proxy-v2",
    "2 with values": "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl",
}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as upstream:
        yield upstream


async def ask(
    port: int, count: int = 2, *, tls: ssl.SSLContext | None = None, source: str = CLIENT
) -> list[Answer]:
    """Send `count` requests on one connection; return the answers."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        port,
        local_addr=(source, 0),
        ssl=tls,
        server_hostname="localhost" if tls else None,
    )
    received = b""
    async with asyncio.timeout(20):
        for number in range(1, count + 1):
            writer.write(REQUEST)
            while len(parse_answers(received, eof=False).final) < number:
                received += await reader.read(1 << 16) or b""
                assert not reader.at_eof() or len(parse_answers(received, eof=True).final) >= number
    writer.close()
    return parse_answers(received, eof=False).final


def seen(upstream: StubUpstream) -> set[tuple[str | None, str | None]]:
    return {
        (each.get("X-Forwarded-For"), each.get("X-Forwarded-Proto")) for each in upstream.requests
    }


@pytest.mark.parametrize("send", HAPROXY_SENDS.values(), ids=HAPROXY_SENDS)
async def test_haproxy_tells_who_connects(
    upstream: StubUpstream, tmp_path: Path, send: str
) -> None:
    config = CONFIG.format(upstream=upstream.url, tls="")
    async with GatewayProcess(config, tmp_path) as gateway:
        text = HAPROXY.format(port=gateway.port, send=send, check="check-send-proxy")
        if "unique-id" in send:
            text = text.replace("frontend front\n", "frontend front\n    unique-id-format %rt\n")
        async with Balancer.haproxy(text, tmp_path) as balancer:
            for _ in range(3):
                assert [each.status for each in await ask(balancer.port)] == [200, 200]
            line = await gateway.wait_for_log(lambda line: line.get("path") == "/public/x")
            # Its health checks are answered: version 2 says LOCAL, version 1 UNKNOWN.
            await said(balancer, "succeeded")
            assert "Layer7" in balancer.log_text() or "L7" in balancer.log_text()
    assert line["client"] == CLIENT
    assert seen(upstream) == {(CLIENT, "http")}
    events = [str(line.get("event")) for line in gateway.log_lines()]
    assert not [event for event in events if "PROXY" in event or "closed" in event]


async def said(balancer: Balancer, text: str) -> None:
    """Wait until the load balancer has logged `text`."""
    async with asyncio.timeout(20):
        while text not in balancer.log_text():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)


async def test_haproxy_without_the_switch_is_told(upstream: StubUpstream, tmp_path: Path) -> None:
    config = CONFIG.format(upstream=upstream.url, tls="")
    async with GatewayProcess(config, tmp_path) as gateway:
        text = HAPROXY.format(port=gateway.port, send="", check="")
        async with Balancer.haproxy(text, tmp_path) as balancer:
            line = await gateway.wait_for_log(lambda line: line.get("level") == "warning")
            await said(balancer, "is DOWN")
    assert "send-proxy-v2" in str(line["event"])
    assert line["peer"] == "127.0.0.1"
    assert upstream.requests == []


async def test_nginx_tells_who_connects(upstream: StubUpstream, tmp_path: Path) -> None:
    config = CONFIG.format(upstream=upstream.url, tls="")
    async with GatewayProcess(config, tmp_path) as gateway:
        text = NGINX.format(port=gateway.port)
        async with Balancer.nginx(text, tmp_path) as balancer:
            for _ in range(3):
                assert [each.status for each in await ask(balancer.port)] == [200, 200]
    assert seen(upstream) == {(CLIENT, "http")}


async def test_tls_passes_through_the_load_balancer(upstream: StubUpstream, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    config = CONFIG.format(upstream=upstream.url, tls=f", tls: {{cert: {cert}, key: {key}}}")
    async with GatewayProcess(config, tmp_path) as gateway:
        for make, text in (
            (Balancer.nginx, NGINX.format(port=gateway.port)),
            (
                Balancer.haproxy,
                HAPROXY.format(
                    port=gateway.port, send="send-proxy-v2", check="check-ssl verify none"
                ),
            ),
        ):
            async with make(text, tmp_path) as balancer:
                for _ in range(3):
                    answers = await ask(balancer.port, tls=authority.client())
                    assert [each.status for each in answers] == [200, 200]
    assert seen(upstream) == {(CLIENT, "https")}


async def test_who_goes_around_the_load_balancer_gets_nothing(
    upstream: StubUpstream, tmp_path: Path
) -> None:
    config = CONFIG.format(upstream=upstream.url, tls="")
    async with GatewayProcess(config, tmp_path) as gateway:
        for data in (REQUEST, b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" + REQUEST):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", gateway.port, local_addr=(CLIENT, 0)
            )
            writer.write(data)
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass  # what it had sent was not read
            writer.close()
        line = await gateway.wait_for_log(lambda line: line.get("level") == "warning")
    assert "trusted_proxies" in str(line["event"])
    assert upstream.requests == []


TLS_UPSTREAM: Final = """\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend upstream
    bind 127.0.0.1:@PORT@ ssl crt {pem} ca-file {ca} verify {verify} {version}
    http-request return status 200 content-type text/plain string hello
"""
BEHIND: Final = """\
listen: 127.0.0.1:0
admin: 127.0.0.1:0
upstreams: {{api: {{endpoints: ["https://127.0.0.1:{port}"], tls: {tls}}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
log: {{format: json}}
drain: {{delay: 0s, timeout: 5s}}
"""
# What is wrong -> how the reason begins, in the access log and in `check --connect`.
FAULTS: Final = {
    "nothing": "",
    "root": "TLS: unable to get local issuer certificate",
    "name": "TLS: Hostname mismatch",
    "expired": "TLS: certificate has expired",
    "no client certificate": "TLS: the endpoint",
    "foreign client certificate": "TLS: the endpoint does not know who signed our certificate",
    "expired client certificate": "TLS: our certificate has expired",
}


@pytest.mark.parametrize(
    ("fault", "version"),
    [
        *((fault, "ssl-min-ver TLSv1.3") for fault in FAULTS),
        # Where an endpoint says what it thinks of us within the handshake.
        *((fault, "ssl-max-ver TLSv1.2") for fault in FAULTS if "client" in fault),
    ],
)
async def test_tls_of_an_upstream_is_told_what_is_wrong(
    tmp_path: Path, fault: str, version: str
) -> None:
    (tmp_path / "stranger").mkdir()
    ours, stranger = Authority(tmp_path), Authority(tmp_path / "stranger", "stranger")
    cert, key = ours.issue("upstream", days=(-9, -1 if fault == "expired" else 9))
    pem = concatenated(tmp_path / "upstream.pem", cert, key)
    tls = {"ca": ours.ca, "server_name": "upstream"}
    if fault == "root":
        tls["ca"] = stranger.ca
    elif fault == "name":
        tls["server_name"] = "other.example"
    if fault != "no client certificate":
        signer = stranger if fault.startswith("foreign") else ours
        days = (-9, -1 if fault == "expired client certificate" else 9)
        tls["cert"], tls["key"] = signer.issue("gateway", days=days)
    written = "{" + ", ".join(f"{name}: {value}" for name, value in tls.items()) + "}"
    text = TLS_UPSTREAM.format(pem=pem, ca=ours.ca, verify="required", version=version)
    async with Balancer.haproxy(text, tmp_path) as upstream:
        config = BEHIND.format(port=upstream.port, tls=written)
        async with GatewayProcess(config, tmp_path) as gateway:
            [answer] = await ask(gateway.port, 1)
            line = await gateway.wait_for_log(lambda line: line.get("path") == "/public/x")
        checked = await checking(gateway.config_file)
    reason = FAULTS[fault]
    if not reason:
        assert answer.status == 200
        assert "can be reached" in checked
        return
    assert (answer.status, answer.json()["code"]) == (502, "upstream_unreachable")
    assert str(line["reason"]).startswith(reason)
    assert f"cannot be reached: {line['reason']}" in checked


def concatenated(to: Path, *files: Path) -> Path:
    to.write_bytes(b"".join(file.read_bytes() for file in files))
    return to


async def checking(config: Path) -> str:
    """Return what `check --connect` says of a configuration."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "check", "--connect", "-c", str(config)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    return said.decode()


async def test_client_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    ours, stranger = Authority(tmp_path), Authority(tmp_path / "stranger", "stranger")
    pem = concatenated(tmp_path / "upstream.pem", *ours.issue("localhost"))
    cert, key = stranger.issue("gateway")
    text = TLS_UPSTREAM.format(pem=pem, ca=ours.ca, verify="required", version="")
    async with Balancer.haproxy(text, tmp_path) as upstream:
        tls = f"{{ca: {ours.ca}, cert: {cert}, key: {key}}}"
        async with GatewayProcess(BEHIND.format(port=upstream.port, tls=tls), tmp_path) as gateway:
            assert [each.status for each in await ask(gateway.port, 1)] == [502]
            for new, old in zip(ours.issue("gateway"), (cert, key), strict=True):
                concatenated(old, new)
            await gateway.wait_for_log(
                lambda line: line.get("event") == "certificates of an upstream read again"
            )
            assert [each.status for each in await ask(gateway.port, 1)] == [200]
