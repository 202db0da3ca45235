"""The listener's certificate and its renewal; handshakes with it are in tests/corridor."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.config.model import ListenTls
from proxy.worker.certificates import Certificate
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
        await seen(certificate)
        authority.issue("localhost", days=(-1, 60))
        async with asyncio.timeout(10):
            while certificate.context() is before:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    finally:
        certificate.stop()


async def seen(certificate: Certificate) -> None:
    """Wait until the files have been looked at once."""
    async with asyncio.timeout(10):
        while not certificate._watch._known:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


def test_it_has_a_repr_without_secrets(tls: ListenTls) -> None:
    assert repr(Certificate(tls)) == f"<Certificate {tls.cert}>"
