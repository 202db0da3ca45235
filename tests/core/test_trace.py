from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.trace import request_id, traceparent
from tests.support.exchanges import SEED

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{PARENT}-01"
OURS, FRESH = SEED[32:48], f"00-{SEED[:32]}-{SEED[32:48]}-00"

# Trace Context, sections 3.2.2 and 4.3.
CONTINUED = {
    "sampled": (SENT, "01"),
    "not sampled": (f"00-{TRACE}-{PARENT}-00", "00"),
    "flags of later versions": (f"00-{TRACE}-{PARENT}-ff", "01"),
    "other flags alone": (f"00-{TRACE}-{PARENT}-02", "00"),
    "later version": (f"01-{TRACE}-{PARENT}-01", "01"),
    "later version with more": (f"cc-{TRACE}-{PARENT}-01-what-will-be", "01"),
    "later version with an end": (f"cc-{TRACE}-{PARENT}-01-", "01"),
    "nearly no trace": (f"00-{'0' * 31}1-{PARENT}-01", "01"),
}
RESTARTED = {
    "none": None,
    "empty": "",
    "version ff": f"ff-{TRACE}-{PARENT}-01",
    "version of one digit": f"0-{TRACE}-{PARENT}-01",
    "version in capitals": f"CC-{TRACE}-{PARENT}-01",
    "version 00 with more": f"{SENT}-x",
    "version 00 with an end": f"{SENT}-",
    "later version with more and no hyphen": f"cc-{TRACE}-{PARENT}-01.x",
    "no trace": f"00-{'0' * 32}-{PARENT}-01",
    "no parent": f"00-{TRACE}-{'0' * 16}-01",
    "short trace": f"00-{TRACE[1:]}-{PARENT}-01",
    "long trace": f"00-{TRACE}0-{PARENT}-01",
    "short parent": f"00-{TRACE}-{PARENT[1:]}-01",
    "capitals": f"00-{TRACE.upper()}-{PARENT}-01",
    "capital flags": f"00-{TRACE}-{PARENT}-0A",
    "no digits": f"00-{'g' * 32}-{PARENT}-01",
    "TP-15": "00-zz-00-01",
    "one flag digit": f"00-{TRACE}-{PARENT}-1",
    "no flags": f"00-{TRACE}-{PARENT}",
    "space in front": f" {SENT}",
    "space behind": f"{SENT} ",
    "two": f"{SENT}, {SENT}",
    "line end": f"cc-{TRACE}-{PARENT}-01-\n",
}


@pytest.mark.parametrize(("sent", "flags"), CONTINUED.values(), ids=CONTINUED)
def test_a_trace_is_continued_with_a_parent_of_ours(sent: str, flags: str) -> None:
    expected = f"00-{sent[3:35]}-{OURS}-{flags}"
    assert traceparent(sent.encode(), SEED) == expected


@pytest.mark.parametrize("sent", RESTARTED.values(), ids=RESTARTED)
def test_an_invalid_traceparent_begins_a_new_trace_that_is_not_sampled(sent: str | None) -> None:
    assert traceparent(None if sent is None else sent.encode(), SEED) == FRESH


@given(st.one_of(st.binary(), st.from_regex(rb"[0-9a-f-]{50,60}", fullmatch=True)))
def test_whatever_comes_a_valid_traceparent_goes_on(sent: bytes) -> None:
    found = traceparent(sent, SEED)
    assert re.fullmatch(f"00-[0-9a-f]{{32}}-{OURS}-0[01]", found)
    assert found[3:35] in (SEED[:32], sent[3:35].decode("latin-1"))


SANE = ["a", "R-1", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "Root=1-67891233-abcdef", "x" * 128]
SANE += ["550e8400-e29b-41d4-a716-446655440000", "a.b_c:d/e+f=g@h"]
ODD = ["", "x" * 129, "a b", "a\tb", 'abc"}\\n{"level":"error', "a\r\nX: y", "a\n", "é", "a;b"]
ODD += ["a,b", "<script>", "a\0", "\x1b[31m", "a%0a", "{}", "a'b"]


@pytest.mark.parametrize("sent", SANE)
def test_a_sane_request_id_of_a_trusted_proxy_is_kept(sent: str) -> None:
    assert request_id(sent.encode(), True, SEED) == sent
    assert request_id(sent.encode(), False, SEED) == SEED[:32]


@pytest.mark.parametrize("sent", ODD)
def test_an_odd_request_id_is_replaced(sent: str) -> None:
    assert request_id(sent.encode("latin-1"), True, SEED) == SEED[:32]


def test_without_a_request_id_one_is_made() -> None:
    assert request_id(None, True, SEED) == SEED[:32]


@given(st.binary(max_size=200), st.booleans())
def test_no_request_id_can_leave_its_line_or_field(sent: bytes, trusted: bool) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._:/+=@-]{1,128}", request_id(sent, trusted, SEED))
