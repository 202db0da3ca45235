from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.head import RequestHead
from proxy.gateway.volatile import NAMES, Volatile, fill, restore, template

AMZN = "X-Amzn-Trace-Id"


def head(*fields: tuple[str, str]) -> RequestHead:
    raw = tuple((name.encode(), value.encode()) for name, value in fields)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in raw)
    return RequestHead("GET", "/", 1, raw, "192.0.2.1", raw=b"GET / HTTP/1.1\r\n%b\r\n" % lines)


def knowing(*fields: tuple[str, str]) -> Volatile:
    volatile = Volatile()
    volatile.learn(head(*fields))
    return volatile


def test_a_value_is_cut_out_and_given_by_its_mark() -> None:
    one = head(("Host", "a"), (AMZN, "Root=1-2"), ("Accept", "*/*"))
    cut, values = knowing((AMZN, "x")).cut(one.raw)
    assert cut == one.raw.replace(b"Root=1-2", b"")
    assert values == {b"\r\nX-Amzn-Trace-Id: ": b"Root=1-2"}


def test_heads_that_differ_in_volatile_values_are_cut_to_the_same() -> None:
    volatile = knowing((AMZN, "x"), ("traceparent", "x"))
    cuts = {
        volatile.cut(head((AMZN, str(number)), ("traceparent", f"00-{number}")).raw)[0]
        for number in range(9)
    }
    assert len(cuts) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (AMZN, ""),
        (AMZN, "a b"),
        (AMZN, 'a"b'),
        (AMZN, "a,b"),
        ("x-amzn-trace-id", "other spelling"),
        ("X-Other", "1"),
        ("Not-X-Amzn-Trace-Id", "1"),
    ],
)
def test_what_is_not_cut(name: str, value: str) -> None:
    raw = head((name, value)).raw
    assert knowing((AMZN, "x")).cut(raw) == (raw, {})


def test_only_the_first_of_two_is_cut() -> None:
    raw = head((AMZN, "1"), (AMZN, "2")).raw
    cut, values = knowing((AMZN, "x")).cut(raw)
    assert cut == raw.replace(b": 1", b": ")
    assert [*values.values()] == [b"1"]


def test_a_request_line_is_never_cut() -> None:
    raw = b"GET /?X-Amzn-Trace-Id:%20 HTTP/1.1\r\nHost: a\r\n\r\n"
    assert knowing((AMZN, "x")).cut(raw)[0] == raw


def test_fields_that_mean_something_are_not_volatile() -> None:
    meaning = {"cookie", "authorization", "origin", "host", "x-forwarded-for", "forwarded"}
    assert not meaning & {name.decode() for name in NAMES}
    fields = [(name, "1") for name in sorted(meaning)]
    assert knowing(*fields).marks == ()


def test_a_client_that_invents_spellings_is_not_listened_to_for_ever() -> None:
    volatile = Volatile()
    for letters in product("cC", "fF", "-", "rR", "aA", "yY"):
        volatile.learn(head(("".join(letters), "1")))
    assert len(volatile.marks) == 8
    assert repr(volatile) == "<Volatile fields=8>"


def test_learning_twice_is_learning_once() -> None:
    volatile = knowing((AMZN, "1"))
    volatile.learn(head((AMZN, "2")))
    assert len(volatile.marks) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["traceparent", "X-Request-Id", AMZN, "CF-Ray", "X-Other"]),
            st.text("abc019-=;", min_size=1, max_size=9),
        ),
        max_size=6,
        unique_by=lambda field: field[0],
    )
)
def test_a_template_filled_anew_is_what_would_have_been_written(
    fields: list[tuple[str, str]],
) -> None:
    volatile = knowing(*fields)
    first = head(*fields)
    _, values = volatile.cut(first.raw)
    pieces = template(first.raw, values)
    assert fill(pieces, values) == first.raw
    changed = [(name, value if name == "X-Other" else value[::-1] + "x") for name, value in fields]
    second = head(*changed)
    _, others = volatile.cut(second.raw)
    assert fill(pieces, others) == second.raw


def test_values_that_do_not_pass_have_no_place() -> None:
    opening = b"GET / HTTP/1.1\r\nHost: a\r\n"
    values = {b"\r\ntraceparent: ": b"00"}
    assert template(opening, values) == (opening,)
    assert fill((opening,), values) == opening


def test_values_are_restored_in_the_fields_of_their_spelling() -> None:
    first = head(("Host", "a"), ("b3", "1"), ("B3", "2"))
    values = {b"\r\nb3: ": b"9"}
    assert restore(first.fields, values) == (
        (b"Host", b"a"),
        (b"b3", b"9"),
        (b"B3", b"2"),
    )
