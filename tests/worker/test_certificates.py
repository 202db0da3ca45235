"""The listener's certificate and its renewal; handshakes with it are in tests/corridor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.config.load import loads
from proxy.config.model import Config, ListenTls
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool
from proxy.worker.certificates import Certificate, Certificates, ClientCertificates
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> ListenTls:
    cert, key = authority.issue("localhost", days=(-1, 30))
    return ListenTls.model_construct(cert=cert, key=key)


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_a_renewal_makes_another_context(
    tls: ListenTls, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatelodge")
    certificate = Certificate(tls)
    before, ends = certificate.context(), certificate.expires
    authority.issue("localhost", days=(-1, 60))
    certificate.renew()
    assert certificate.context() is not before
    assert certificate.expires > ends + 20 * 86_400
    assert levels(caplog) == ["INFO"]


@pytest.mark.parametrize("bad", ["foreign key", "no certificate", "gone"])
def test_a_bad_one_changes_nothing(
    tls: ListenTls, tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = Certificate(tls)
    before, ends = certificate.context(), certificate.expires
    if bad == "foreign key":
        (tmp_path / "other").mkdir()
        _, key = Authority(tmp_path / "other").issue("localhost")
        tls.key.write_bytes(key.read_bytes())
    elif bad == "gone":
        tls.cert.unlink()
    else:
        tls.cert.write_text("-----BEGIN CERTIFICATE-----\n")
    certificate.renew()
    assert certificate.context() is before
    assert certificate.expires == ends
    [record] = caplog.records
    assert record.levelname == "ERROR"
    reason = getattr(record, "reason", "")
    assert str(tls.cert) in reason
    assert str(tls.key) in reason


def test_at_the_start_a_bad_one_is_an_error_that_names_the_files(tls: ListenTls) -> None:
    tls.key.write_text("x")
    with pytest.raises(OSError, match=r"listen\.tls: .*cannot be used") as error:
        Certificate(tls)
    assert str(tls.key) in str(error.value.strerror)


@pytest.mark.parametrize("days", [(-9, -1), (1, 9), (-9, 1)], ids=["past", "future", "soon"])
def test_one_that_is_not_valid_is_used_and_told(
    authority: Authority, days: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    """Clients would refuse it, but refusing to start would help nobody."""
    cert, key = authority.issue("localhost", days=days)
    Certificate(ListenTls.model_construct(cert=cert, key=key)).context()
    assert levels(caplog) == ["WARNING"]


async def test_it_is_renewed_when_its_files_change(tls: ListenTls, authority: Authority) -> None:
    certificate = Certificate(tls, interval=0.01)
    before = certificate.context()
    certificate.watch()
    try:
        authority.issue("localhost", days=(-1, 60))
        async with asyncio.timeout(10):
            while certificate.context() is before:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    finally:
        certificate.stop()


@dataclass
class Held:
    """A snapshot as far as client certificates know it."""

    config: Config
    pools: dict[str, Pool]


@pytest_asyncio.fixture
async def held(authority: Authority) -> AsyncIterator[Held]:
    """One upstream with a client certificate, one with roots alone, one without TLS."""
    cert, key = authority.issue("gateway", days=(-1, 30))
    text = f"""\
upstreams:
  a: {{endpoints: ["https://127.0.0.1:1"], tls: {{ca: {authority.ca}, cert: {cert}, key: {key}}}}}
  b: {{endpoints: ["https://127.0.0.1:2"], tls: {{ca: {authority.ca}}}}}
  c: {{endpoints: ["http://127.0.0.1:3"]}}
routes: [{{path: /**, upstream: a, auth: public}}]
"""
    config = loads(text, "x.yaml", {}).config
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    pools = {name: Pool(name, each, loop, deadlines) for name, each in config.upstreams.items()}
    yield Held(config, pools)
    deadlines.stop()


async def test_client_certificates_are_read_again_where_there_are_some(
    held: Held, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatelodge")
    shown = ClientCertificates(lambda: held)  # type: ignore[arg-type,return-value]
    assert repr(shown) == "<ClientCertificates upstreams=2>"
    [(place, ends)] = shown.expiries()
    assert place == "upstreams.a"
    authority.issue("gateway", days=(-1, 60))
    [(_, later)] = shown.expiries()
    assert later > ends + 20 * 86_400
    shown.renew()
    assert [getattr(record, "upstream", "") for record in caplog.records] == ["a", "b"]
    assert levels(caplog) == ["INFO", "INFO"]


async def test_a_bad_client_certificate_is_told_with_its_upstream(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    tls = held.config.upstreams["a"].tls
    assert tls is not None
    assert tls.key is not None
    assert tls.cert is not None
    tls.key.write_text("x")
    ClientCertificates(lambda: held).renew()  # type: ignore[arg-type,return-value]
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert getattr(record, "upstream", "") == "a"
    assert getattr(record, "reason", "")
    tls.cert.unlink()
    assert list(ClientCertificates(lambda: held).expiries()) == []  # type: ignore[arg-type,return-value]


async def test_client_certificates_are_watched_only_where_there_are_some(
    held: Held, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatelodge")
    pools = dict(held.pools)
    held.pools.clear()
    shown = ClientCertificates(lambda: held, interval=0.01)  # type: ignore[arg-type,return-value]
    shown.watch()
    assert shown._task is None
    held.pools.update(pools)
    shown.watch()
    try:
        async with asyncio.timeout(10):
            assert len(shown._read) == 3  # at once: what changes before the first look is seen
            authority.issue("gateway", days=(-1, 60))
            while not caplog.records:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    finally:
        shown.stop()


async def test_they_are_one_thing_to_the_worker(
    held: Held, tls: ListenTls, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatelodge")
    both = Certificates(tls, lambda: held)  # type: ignore[arg-type,return-value]
    neither = Certificates(None, lambda: Held(held.config, {}))  # type: ignore[arg-type,return-value]
    assert [place for place, _ in both.expiries()] == ["listen", "upstreams.a"]
    assert list(neither.expiries()) == []
    assert neither.context is None
    assert both.context is not None
    before = both.context()
    for each in (both, neither):
        each.watch()
        each.watch()
        each.renew()
        each.stop()
    assert both.context() is not before
    assert levels(caplog) == ["INFO"] * 3
    assert repr(neither) == "<Certificates None <ClientCertificates upstreams=0>>"


def test_it_has_a_repr_without_secrets(tls: ListenTls) -> None:
    assert repr(Certificate(tls)) == f"<Certificate {tls.cert}>"
