"""Handshakes that fail, with real TLS servers, and what is told of them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SHUT_RDWR, SHUT_WR, create_server, fromfd

import pytest

from proxy.config.model import Endpoint as Address
from proxy.config.model import UpstreamTls
from proxy.errors import UpstreamUnreachable
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import ConnectSettings, Endpoint
from proxy.upstream.handshake import hear, refused, renew, unreachable
from tests.support.certificates import Authority

BOTH_LOOPS = True
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    (tmp_path / "stranger").mkdir()
    return Authority(tmp_path / "stranger", "stranger")


def shake(encrypted: ssl.SSLSocket) -> None:
    """Shake hands; when that fails take in what was under way, as a close with unread bytes is a
    reset, which can overtake the alert.
    """
    try:
        encrypted.do_handshake()
    except OSError:
        with fromfd(encrypted.fileno(), encrypted.family, encrypted.type) as plain:
            plain.settimeout(10)
            plain.shutdown(SHUT_WR)
            while plain.recv(1 << 16):
                pass
        raise


@contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[int]:
    """Yield the port of a server that blocks, which unlike asyncio's tells why it refuses."""
    listener = create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(10)
                try:
                    if context is None:
                        plain.recv(1)
                        plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        continue
                    with context.wrap_socket(
                        plain, server_side=True, do_handshake_on_connect=False
                    ) as encrypted:
                        shake(encrypted)
                        if encrypted.recv(1 << 16):
                            encrypted.sendall(ANSWER)
                        encrypted.unwrap()
                except OSError:
                    pass

    # Nobody waits for it: the event loop would be kept from ending what the server waits for.
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(SHUT_RDWR)
        listener.close()


def demanding(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.server()
    context.maximum_version = context.minimum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    return context


def showing(authority: Authority, cert: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = authority.client()
    if cert is not None:
        context.load_cert_chain(*cert)
    return context


async def reason_of(port: int, context: ssl.SSLContext) -> str:
    """Return why a request to the endpoint fails as unreachable; "" when it is answered."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    settings = ConnectSettings(10.0, 10, context, None)
    endpoint = Endpoint(Address.parse(f"https://127.0.0.1:{port}"), settings, loop, deadlines)
    try:
        connection = await endpoint.connect(10.0)
        connection.begin(bodiless=False, upgrade=False)
        connection.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert (await connection.answer()).status == 200
        connection.abort()
    except UpstreamUnreachable as error:
        return error.reason
    finally:
        deadlines.stop()
    return ""


DEMANDED = {
    "none": "client certificate (tls.cert)",
    "foreign": "TLS: the endpoint does not know who signed our certificate (tls.cert)",
    "expired": "TLS: our certificate has expired (tls.cert)",
    "good": "",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shown", DEMANDED)
async def test_a_certificate_of_ours_that_is_refused_is_told(
    authority: Authority, stranger: Authority, version: ssl.TLSVersion, shown: str
) -> None:
    """With TLS 1.3 in the place of the answer, and found out without a request by `hear`."""
    cert = None
    if shown == "foreign":
        cert = stranger.issue("gateway")
    elif shown != "none":
        cert = authority.issue("gateway", days=(-9, -1 if shown == "expired" else 1))
    context = showing(authority, cert)
    with serving(demanding(authority, version)) as port:
        told = await reason_of(port, context)
        assert told.endswith(DEMANDED[shown])
        assert bool(told) == (shown != "good")
        if version is ssl.TLSVersion.TLSv1_3 and shown != "good":
            with pytest.raises(UpstreamUnreachable) as error:
                await asyncio.to_thread(hear, "127.0.0.1", port, context, "localhost", 10.0)
            assert error.value.reason == told
        if shown == "good":
            await asyncio.to_thread(hear, "127.0.0.1", port, context, "localhost", 10.0)


async def test_a_certificate_that_we_refuse_is_told(
    authority: Authority, stranger: Authority
) -> None:
    reasons = {}
    for name, context in (
        ("stranger", stranger.server()),
        ("name", authority.server("other", address=None)),
        ("expired", authority.server("localhost", days=(-9, -1))),
    ):
        with serving(context) as port:
            reasons[name] = await reason_of(port, authority.client())
    assert reasons["stranger"].startswith("TLS: unable to get local issuer certificate")
    assert reasons["stranger"].endswith("(the root that signed it belongs into tls.ca)")
    assert reasons["name"].startswith("TLS: IP address mismatch")
    assert reasons["name"].endswith("(tls.server_name names another)")
    assert reasons["expired"] == "TLS: certificate has expired"


async def test_an_endpoint_without_tls_is_told(authority: Authority) -> None:
    with serving(None) as port:
        told = await reason_of(port, authority.client())
        await asyncio.to_thread(hear, "127.0.0.1", port, authority.client(), "localhost", 10.0)
    assert told == "TLS: the endpoint speaks no TLS; is it http://?"


def test_hearing_tells_of_nothing_else(authority: Authority) -> None:
    with create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        hear("127.0.0.1", port, authority.client(), "localhost", 0.05)  # it does not answer
    hear("127.0.0.1", port, authority.client(), "localhost", 10.0)  # it is gone


@pytest.mark.parametrize(
    ("error", "tls", "told"),
    [
        (ConnectionRefusedError(111, "Connection refused"), False, "Connection refused"),
        (ConnectionRefusedError(111, "Connection refused"), True, "Connection refused"),
        (OSError("Multiple exceptions: ..."), False, "the connection was refused"),
        (
            ConnectionResetError(),
            True,
            "TLS: the endpoint ended the connection within the handshake",
        ),
        (ssl.SSLError(), True, "TLS: the handshake failed"),
    ],
)
def test_what_is_no_certificate_s_fault_is_told_as_it_is(
    error: OSError, tls: bool, told: str
) -> None:
    assert unreachable(error, tls=tls).reason == told
    assert refused(error) is None


def test_a_renewal_changes_the_context_in_use(authority: Authority, stranger: Authority) -> None:
    cert, key = stranger.issue("gateway")
    context = authority.client()
    tls = UpstreamTls.model_construct(ca=authority.ca, cert=cert, key=key)
    renew(context, tls)
    with serving(demanding(authority, ssl.TLSVersion.TLSv1_3)) as port:
        with pytest.raises(UpstreamUnreachable):
            hear("127.0.0.1", port, context, "localhost", 10.0)
        key.write_bytes(authority.issue("gateway")[1].read_bytes())
        with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
            renew(context, tls)  # half of the new pair is there
        with pytest.raises(UpstreamUnreachable):
            hear("127.0.0.1", port, context, "localhost", 10.0)
        cert.write_bytes((authority.ca.parent / "gateway.crt").read_bytes())
        renew(context, tls)
        hear("127.0.0.1", port, context, "localhost", 10.0)


def test_a_renewal_adds_roots(authority: Authority, stranger: Authority) -> None:
    context = authority.client()
    with serving(stranger.server()) as port:
        told = asyncio.run(reason_of(port, context))
        assert told.startswith("TLS: unable to get")
        renew(context, UpstreamTls.model_construct(ca=stranger.ca, cert=None, key=None))
        assert asyncio.run(reason_of(port, context)) == ""
