"""How long certificates are valid, and who is told what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.core.certificate import Validity, validity
from tests.support.certificates import Authority

DAY = 86_400.0


def test_the_first_certificate_of_a_file_counts(tmp_path: Path) -> None:
    """A chain begins with the one that is shown."""
    authority = Authority(tmp_path)
    cert, _ = authority.issue("localhost", days=(-3, 40))
    chain = cert.read_bytes() + authority.ca.read_bytes()
    found = validity(chain)
    now = time.time()
    assert found.begins == pytest.approx(now - 3 * DAY, abs=60)
    assert found.ends == pytest.approx(now + 40 * DAY, abs=60)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        validity(pem)


@pytest.mark.parametrize(
    ("now", "advice"),
    [
        (1000 * DAY, ""),
        (1092.9 * DAY, ""),
        (1093.5 * DAY, "the certificate expires in 6 days"),
        (1098.5 * DAY, "the certificate expires in 1 day"),
        (1099.9 * DAY, "the certificate expires in 2 hours"),
        (1100 * DAY + 3700, "the certificate has expired 1 hour ago"),
        (1203 * DAY, "the certificate has expired 103 days ago"),
        (989.5 * DAY, "the certificate is valid only in 10 days; is the clock right?"),
    ],
)
def test_its_owner_hears_of_what_is_to_be_done(now: float, advice: str) -> None:
    assert Validity(1000 * DAY, 1100 * DAY).advice(now) == advice
