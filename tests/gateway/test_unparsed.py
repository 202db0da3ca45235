"""proxy/gateway/unparsed.py: what is no request becomes an error that says so."""

from __future__ import annotations

from proxy.errors import HeadTooLarge
from proxy.gateway.unparsed import as_proxy_error


def test_an_error_of_ours_stays_what_it_is() -> None:
    error = HeadTooLarge("too much")
    assert as_proxy_error(error, b"", 0) is error
