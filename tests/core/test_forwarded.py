from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.forwarded import forwarded_element, node_address, parse_forwarded
from proxy.errors import BadRequest

NODES = {
    "192.0.2.1": "192.0.2.1",
    "192.0.2.1:8080": "192.0.2.1",
    "2001:db8::1": "2001:db8::1",
    "2001:DB8:0:0::1": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "[2001:db8::1]:443": "2001:db8::1",
    "::ffff:10.0.0.5": "10.0.0.5",  # TP-11
    "[::ffff:10.0.0.5]:1": "10.0.0.5",
    "::1": "::1",
}


@pytest.mark.parametrize("node", NODES)
def test_a_node_holds_an_address(node: str) -> None:
    assert node_address(node) == NODES[node]


@pytest.mark.parametrize(
    "node",
    [
        *("", "unknown", "_hidden", "localhost", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4"),
        *(
            "1.2.3.4:",
            "1.2.3.4:x",
            "[1.2.3.4]x",
            "[::1",
            "::1]",
            "fe80::1%eth0",
            "1.2.3.4, 5.6.7.8",
        ),
        *(" 1.2.3.4", "1.2.3.4\n", "\xb2.1.1.1", '"1.2.3.4"', "1" * 5000, "0x7f.1", "1.2.3.4/8"),
        "\N{ARABIC-INDIC DIGIT ONE}.1.1.1",
    ],
)
def test_what_is_no_address_is_none(node: str) -> None:
    assert node_address(node) is None


FORWARDED: dict[str, tuple[bytes, list[dict[bytes, bytes]]]] = {
    "one": (b"for=192.0.2.1", [{b"for": b"192.0.2.1"}]),
    "all": (
        b'For="[2001:db8::1]:80";proto=https;BY=_a;host="h:1"',
        [{b"for": b"[2001:db8::1]:80", b"proto": b"https", b"by": b"_a", b"host": b"h:1"}],
    ),
    "several": (b"for=a, for=b;proto=http", [{b"for": b"a"}, {b"for": b"b", b"proto": b"http"}]),
    "spaces": (
        b" for=a ;\tproto=http , for=b ",
        [{b"for": b"a", b"proto": b"http"}, {b"for": b"b"}],
    ),
    "nothing": (b"", []),
    "empty parts": (b", ;for=a;;,,", [{b"for": b"a"}]),
    "TP-08": (b'for="1.1.1.1, for=10.0.0.5"', [{b"for": b"1.1.1.1, for=10.0.0.5"}]),
    "escapes": (b'for="a\\"b\\\\c;d"', [{b"for": b'a"b\\c;d'}]),
    "empty value": (b'for=""', [{b"for": b""}]),
}


@pytest.mark.parametrize(("value", "elements"), FORWARDED.values(), ids=FORWARDED)
def test_forwarded_is_read(value: bytes, elements: list[dict[bytes, bytes]]) -> None:
    assert parse_forwarded(value) == elements


@pytest.mark.parametrize(
    "value",
    [
        b'for="1.1.1.1',
        b'for="1.1.1.1, for=10.0.0.5',
        b'for=1.1.1.1", for=10.0.0.5',
        b'for="a\\"',
        b'for="a"b',
        b'for="a\x00"',
        b"for",
        b"for=",
        b"=a",
        b"for = a",
        b"for=a b",
        b"for=a for=b",
        b"for=2001:db8::1",
        b"for=1.1.1.1:80",
        b"for=a;for=b",
        b"for=a;FOR=a",
        b"for=\xff",
        b"for=a," * 2000,
    ],
)
def test_forwarded_that_has_no_one_meaning_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_forwarded(value)


@given(st.binary(max_size=30) | st.text(alphabet='for=;, "\\ab', max_size=40).map(str.encode))
@example(b'"' * 4096)
@example(b'a="' + b"\\" * 4000)
@example(b" " * 4096)
@example(b"," * 4096)
def test_any_bytes_are_forwarded_or_refused(value: bytes) -> None:
    with suppress(BadRequest):
        assert all(element for element in parse_forwarded(value))


@given(st.ip_addresses().map(str), st.sampled_from([b"h", b"h:80", b"[::1]:80"]))
def test_our_element_can_be_read_again(address: str, host: bytes) -> None:
    (element,) = parse_forwarded(forwarded_element(address, host, "https"))
    assert element[b"host"] == host
    assert element[b"proto"] == b"https"
    read = node_address(element[b"for"].decode())
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    assert read == str(mapped or parsed)


def test_our_element_says_unknown_for_a_peer_without_address() -> None:
    assert forwarded_element(None, b"h", "http") == b"for=unknown;host=h;proto=http"
    assert forwarded_element("::1", b"h:1", "http") == b'for="[::1]";host="h:1";proto=http'
