from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.head import RequestHead
from proxy.errors import BadRequest
from tests.support.exchanges import head

JOINED = {
    "accept": "a, b",
    "access-control-request-headers": "a, b",
    "connection": "a, b",
    "cookie": "a; b",
    "forwarded": "a, b",
    "upgrade": "a, b",
    "x-forwarded-for": "a, b",
}
SINGLE = [
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "content-length",
    "expect",
    "host",
    "origin",
    "referer",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-key",
    "sec-websocket-version",
    "traceparent",
    "transfer-encoding",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-request-id",
    "x-requested-with",
]


def spelled(name: str) -> list[str]:
    return [name, name.upper(), name.title(), name.swapcase().title().swapcase()]


@pytest.mark.parametrize("name", [*JOINED, *SINGLE])
def test_a_field_is_found_in_any_spelling(name: str) -> None:
    for spelling in spelled(name):
        request = head((spelling, " the value, as sent "), host=None)
        assert request.get(name.encode()) == b" the value, as sent "


@pytest.mark.parametrize(("name", "together"), JOINED.items(), ids=JOINED)
def test_the_lines_of_a_list_are_one_value_in_their_order(name: str, together: str) -> None:
    request = head((name, "a"), ("X-Other", "x"), (name.title(), "b"), host=None)
    assert request.get(name.encode()) == together.encode()
    assert (
        head((name, "a"), (name, "b"), (name, "c")).get(name.encode())
        == (together + together[1:-1] + "c").encode()
    )


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("again", ["a", "b", ""], ids=["same", "other", "empty"])
def test_what_is_no_list_has_no_meaning_when_it_comes_twice(name: str, again: str) -> None:
    request = head((name, "a"), (name.upper(), again), host=None)
    with pytest.raises(BadRequest, match=f"header {name} came more than once"):
        request.get(name.encode())
    # Only who asks for it is bothered.
    assert request.get(b"accept") is None


def test_three_times_is_as_bad_as_twice() -> None:
    request = head(("Origin", "a"), ("Origin", "a"), ("Origin", "a"), ("Expect", "x"))
    with pytest.raises(BadRequest):
        request.get(b"origin")
    assert request.get(b"expect") == b"x"


def test_an_absent_field_is_none_and_an_empty_one_is_empty() -> None:
    assert head().get(b"origin") is None
    assert head(("Origin", "")).get(b"origin") == b""


def test_a_name_must_be_the_whole_name() -> None:
    request = head(("X-Origin", "a"), ("Origin-", "b"), ("O_rigin", "c"), ("Cook_ie", "d"))
    assert request.get(b"origin") is None
    assert request.get(b"cookie") is None


def test_the_fields_stay_as_they_were_sent() -> None:
    raw = ((b"HOST", b"a"), (b"x-A", b"\xff"), (b"Cookie", b"a=1"), (b"cookie", b"b=2"))
    assert RequestHead("GET", "/", 1, raw, "192.0.2.1").fields == raw


def test_the_size_counts_target_names_values_and_what_stands_between() -> None:
    assert head(host=None, target="/x").size == len("/x")
    request = head(("A", "1"), ("Bc", "345"), target="/x?y", host=None)
    assert request.size == len("/x?y") + len("A: 1\r\n") + len("Bc: 345\r\n")


def test_a_flood_of_invented_names_changes_nothing_for_the_known_ones() -> None:
    for number in range(3):
        flood = tuple((b"X-%d-%d" % (number, n), b"v") for n in range(2500))
        request = RequestHead("GET", "/", 1, (*flood, (b"oRiGiN", b"a")), "192.0.2.1")
        assert request.get(b"origin") == b"a"


def test_a_long_name_is_not_remembered() -> None:
    """Names are the client's: 4096 of 60 KiB each would be 240 MiB that stay."""
    long = b"X-" + b"a" * 60_000
    before = sys.getrefcount(long)
    RequestHead("GET", "/", 1, ((long, b""),), "192.0.2.1")
    assert sys.getrefcount(long) == before


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*JOINED, *SINGLE, "x-other"]), st.text(st.characters(codec="latin-1"))
        ),
        max_size=8,
    ),
    st.data(),
)
def test_whatever_is_asked_for_was_sent(sent: list[tuple[str, str]], data: st.DataObject) -> None:
    spelt = [(data.draw(st.sampled_from(spelled(name))), value) for name, value in sent]
    request = head(*spelt, host=None)
    for name in [*JOINED, *SINGLE]:
        said = [value.encode("latin-1") for key, value in sent if key == name]
        if len(said) > 1 and name in SINGLE:
            with pytest.raises(BadRequest):
                request.get(name.encode())
        elif said:
            joint = b"; " if name == "cookie" else b", "
            assert request.get(name.encode()) == joint.join(said)
        else:
            assert request.get(name.encode()) is None


def test_the_repr_shows_nothing_of_the_client() -> None:
    request = head(("Cookie", "secret"), target="/path?token=secret", method="PUT")
    assert repr(request) == "<RequestHead PUT minor=1 fields=2>"
