"""What a target reports."""

from __future__ import annotations


class Finding(AssertionError):
    """The product and an oracle disagree; the message says about what."""


def require(holds: bool, what: str) -> None:
    """Raise Finding unless `holds`."""
    if not holds:
        raise Finding(what)
