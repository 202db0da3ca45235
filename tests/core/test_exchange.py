from __future__ import annotations

from proxy.core.exchange import CLIENT_GONE
from proxy.core.trace import traceparent
from tests.support.exchanges import SEED, exchange, head


def test_an_exchange_begins_with_nothing_done() -> None:
    x = exchange(head())
    assert (x.status, x.code, x.reason, x.route) == (0, "", "", None)
    assert (x.session, x.session_result, x.user) == ("", "", "")
    assert (x.upstream, x.endpoint, x.attempts, x.bytes_in, x.bytes_out) == ("", "", 0, 0, 0)


def test_the_trace_id_is_that_of_the_traceparent() -> None:
    assert exchange(head()).trace_id == ""
    x = exchange(head(), traceparent="00-" + "a1" * 16 + "-" + "b2" * 8 + "-01")
    assert x.trace_id == "a1" * 16


def test_a_trace_is_kept_or_begins_here() -> None:
    assert exchange(head(), traceparent=traceparent(None, SEED)).trace_kept is False
    sent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert exchange(head(), traceparent=traceparent(sent, SEED)).trace_kept is True


def test_a_client_that_left_has_a_status_of_its_own() -> None:
    assert CLIENT_GONE == 499


def test_the_repr_shows_neither_user_nor_seed() -> None:
    shown = repr(exchange(head(), user="boss@example.test", request_id="r-1"))
    assert "boss" not in shown
    assert "0123456789abcdef" not in shown
