"""How long a certificate is valid, and what to tell its owner about that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

_DAY: Final = 86_400.0
SOON: Final = 7 * _DAY
"""Seconds before its end from which a certificate is told of: those who renew by themselves do so
weeks before, at the latest (ACME clients: 30 days, of 90).
"""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when (Unix time in seconds) a certificate is valid."""

    begins: float
    ends: float

    def advice(self, now: float) -> str:
        """Return what its owner should hear at the Unix time `now`, "" if nothing."""
        if now > self.ends:
            return f"the certificate has expired {_ago(now - self.ends)} ago"
        if now < self.begins:
            return (
                f"the certificate is valid only in {_ago(self.begins - now)}; is the clock right?"
            )
        if self.ends - now < SOON:
            return f"the certificate expires in {_ago(self.ends - now)}"
        return ""


def validity(pem: bytes) -> Validity:
    """Return how long the first certificate of a PEM file is valid: the one that is shown, before
    those that vouch for it. Raises ValueError if there is none.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    return Validity(
        certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def _ago(seconds: float) -> str:
    count, unit = (seconds / _DAY, "day") if seconds >= _DAY else (seconds / 3600, "hour")
    return f"{int(count)} {unit}{'' if int(count) == 1 else 's'}"
