"""Headers of the PROXY protocol: what is one, what it says, and what is refused.

The composer below is written from the specification alone and shares nothing with the parser.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.proxy_protocol import UNKNOWN, BadProxyHeader, ProxyHeader, crc32c, parse

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
LOCAL, PROXY = 0x20, 0x21
MAX = 4096


def v1(family: str, source: str, target: str, ports: tuple[object, object]) -> bytes:
    return f"PROXY {family} {source} {target} {ports[0]} {ports[1]}\r\n".encode("latin-1")


def v2(command: int, kind: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, kind, len(block)) + block


def inet(source: str, target: str = "192.0.2.1", ports: tuple[int, int] = (50000, 443)) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">HH", *ports)


def inet6(source: str, target: str = "2001:db8::1", ports: tuple[int, int] = (1, 2)) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return packed + struct.pack(">HH", *ports)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def bitwise_crc32c(data: bytes) -> int:
    """RFC 3720 appendix B.4, bit by bit, most simply."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def with_checksum(command: int, kind: int, addresses: bytes, *values: bytes) -> bytes:
    """Return a header with its CRC32c between the addresses and the other values."""
    rest = b"".join(values)
    at = 16 + len(addresses) + 3
    header = v2(command, kind, addresses + tlv(3, bytes(4)) + rest)
    return header[:at] + struct.pack(">I", bitwise_crc32c(header)) + header[at + 4 :]


def outcome(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse(data)
    except BadProxyHeader as error:
        return "missing" if error.missing else "bad"


WHOLE = {
    "TCP4": (v1("TCP4", "203.0.113.9", "10.0.0.1", (50000, 80)), "203.0.113.9"),
    "TCP4, the longest": (
        v1("TCP4", "255.255.255.255", "255.255.255.255", (65535, 65535)),
        "255.255.255.255",
    ),
    "TCP4, ports of zero": (v1("TCP4", "203.0.113.9", "10.0.0.1", (0, 0)), "203.0.113.9"),
    "TCP6": (v1("TCP6", "2001:DB8::9", "::1", (50000, 80)), "2001:db8::9"),
    "TCP6, the longest": (
        v1("TCP6", "ffff:" * 7 + "ffff", "ffff:" * 7 + "ffff", (65535, 65535)),
        "ffff:" * 7 + "ffff",
    ),
    "TCP6, IPv4 in it": (v1("TCP6", "::ffff:203.0.113.9", "::1", (1, 2)), "203.0.113.9"),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", UNKNOWN),
    "UNKNOWN, with anything": (b"PROXY UNKNOWN 10.0.0.1 \n \r x\r\n", UNKNOWN),
    "UNKNOWN, the longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", UNKNOWN),
    "v2 TCP4": (v2(PROXY, 0x11, inet("203.0.113.9")), "203.0.113.9"),
    "v2 TCP6": (v2(PROXY, 0x21, inet6("2001:db8::9")), "2001:db8::9"),
    "v2 TCP6, IPv4 in it": (v2(PROXY, 0x21, inet6("::ffff:203.0.113.9")), "203.0.113.9"),
    "v2 values": (
        v2(PROXY, 0x11, inet("203.0.113.9") + tlv(4, b"") + tlv(0xEA, b"\1vpce-x") + tlv(1, b"h2")),
        "203.0.113.9",
    ),
    "v2 checksum": (with_checksum(PROXY, 0x11, inet("203.0.113.9"), tlv(5, b"id")), "203.0.113.9"),
    "v2 the longest": (
        v2(PROXY, 0x11, inet("203.0.113.9") + tlv(0x20, b"x" * (MAX - 16 - 12 - 3))),
        "203.0.113.9",
    ),
    "v2 UNIX": (v2(PROXY, 0x31, bytes(216)), UNKNOWN),
    "v2 UNIX datagrams": (v2(PROXY, 0x32, bytes(216)), UNKNOWN),
    "v2 UDP4": (v2(PROXY, 0x12, inet("203.0.113.9")), UNKNOWN),
    "v2 UDP6": (v2(PROXY, 0x22, inet6("2001:db8::9")), UNKNOWN),
    "v2 UNSPEC": (v2(PROXY, 0x00, b""), UNKNOWN),
    "v2 UNSPEC, with something": (v2(PROXY, 0x00, b"\1\2\3\4\5"), UNKNOWN),
    "v2 UNSPEC, of a family": (v2(PROXY, 0x10, b"\1\2\3\4\5"), UNKNOWN),
    "v2 LOCAL": (v2(LOCAL, 0x00, b""), None),
    "v2 LOCAL, with addresses": (v2(LOCAL, 0x11, inet("203.0.113.9")), None),
    "v2 LOCAL, of no family": (v2(LOCAL, 0xFF, b"\1\2\3"), None),
    "v2 LOCAL, checksum": (with_checksum(LOCAL, 0x00, b""), None),
}


@pytest.mark.parametrize(("data", "source"), WHOLE.values(), ids=WHOLE)
def test_a_header_is_read_whatever_follows_it(data: bytes, source: str | None) -> None:
    wanted = ProxyHeader(len(data), source)
    assert parse(data) == wanted
    for follows in (b"G", b"GET / HTTP/1.1\r\n\r\n", data, b"\x16\x03\x01", bytes(5000)):
        assert parse(data + follows) == wanted


@pytest.mark.parametrize("data", [data for data, _ in WHOLE.values()], ids=WHOLE)
def test_no_part_of_a_header_is_one(data: bytes) -> None:
    assert [outcome(data[:size]) for size in range(len(data))] == [None] * len(data)


MISSING = {
    "a request": b"GET / HTTP/1.1\r\n",
    "a request that begins like one": b"POST / HTTP/1.1\r\n",
    "one byte": b"G",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "a blank before": b" PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "a line before": b"\r\nPROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "a tab": b"PROXY\tTCP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "the signature's end is another": SIGNATURE[:-1] + b"\r" + bytes(20),
}


@pytest.mark.parametrize("data", MISSING.values(), ids=MISSING)
def test_what_does_not_begin_like_a_header_is_told_at_once(data: bytes) -> None:
    assert outcome(data) == "missing"


BAD = {
    "leading zero": v1("TCP4", "203.0.113.09", "10.0.0.1", (1, 2)),
    "an octet too large": v1("TCP4", "203.0.113.256", "10.0.0.1", (1, 2)),
    "three octets": v1("TCP4", "203.0.113", "10.0.0.1", (1, 2)),
    "a target that is none": v1("TCP4", "203.0.113.9", "10.0.0.999", (1, 2)),
    "the other family": v1("TCP4", "2001:db8::9", "::1", (1, 2)),
    "the other family, six": v1("TCP6", "203.0.113.9", "10.0.0.1", (1, 2)),
    "two double colons": v1("TCP6", "2001::db8::9", "::1", (1, 2)),
    "a zone": v1("TCP6", "fe80::1%eth0", "::1", (1, 2)),
    "a target that is none, six": v1("TCP6", "2001:db8::9", "::1::", (1, 2)),
    "a port too large": v1("TCP4", "203.0.113.9", "10.0.0.1", (65536, 2)),
    "a target's port too large": v1("TCP4", "203.0.113.9", "10.0.0.1", (1, 99999)),
    "a port with a zero": v1("TCP4", "203.0.113.9", "10.0.0.1", ("01", 2)),
    "a port with a sign": v1("TCP4", "203.0.113.9", "10.0.0.1", ("+1", 2)),
    "a port that is none": v1("TCP4", "203.0.113.9", "10.0.0.1", ("", 2)),
    "two blanks": b"PROXY  TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "a blank at the end": b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2 \r\n",
    "a port less": b"PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n",
    "nothing but the name": b"PROXY \r\n",
    "another protocol": b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
    "UNKNOWN with more of a name": b"PROXY UNKNOWNS\r\n",
    "a bare LF": b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\nGET / HTTP/1.1\r\n",
    "a bare CR": b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\rGET / HTTP/1.1\r\n",
    "letters of other scripts": v1("TCP4", "203.0.113.\xb9", "10.0.0.1", (1, 2)),
    "too long a line": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "a line without end": b"PROXY UNKNOWN " + b"f" * 93,
    "v2 of another version": v2(0x11, 0x11, inet("203.0.113.9")),
    "v2 of another version, LOCAL": v2(0x30, 0x00, b""),
    "v2 another command": v2(0x22, 0x11, inet("203.0.113.9")),
    "v2 another family": v2(PROXY, 0x41, inet("203.0.113.9")),
    "v2 another transport": v2(PROXY, 0x13, inet("203.0.113.9")),
    "v2 too short": v2(PROXY, 0x11, inet("203.0.113.9")[:-1]),
    "v2 too short, six": v2(PROXY, 0x21, inet6("2001:db8::9")[:-1]),
    "v2 too short, UNIX": v2(PROXY, 0x31, bytes(215)),
    "v2 too long": v2(PROXY, 0x11, inet("203.0.113.9") + tlv(4, b"x" * (MAX - 16 - 12 - 2))),
    "v2 too long, LOCAL": v2(LOCAL, 0x00, bytes(MAX)),
    "v2 half a value": v2(PROXY, 0x11, inet("203.0.113.9") + b"\4\0"),
    "v2 a value beyond the end": v2(PROXY, 0x11, inet("203.0.113.9") + b"\4\0\2x"),
    "v2 another checksum": with_checksum(PROXY, 0x11, inet("203.0.113.9"))[:-1] + b"\0",
    "v2 a checksum of three bytes": v2(PROXY, 0x11, inet("203.0.113.9") + tlv(3, bytes(3))),
    "v2 two checksums, one wrong": with_checksum(
        PROXY, 0x11, inet("203.0.113.9"), tlv(3, bytes(4))
    ),
    "v2 LOCAL, another checksum": with_checksum(LOCAL, 0x00, b"")[:-1] + b"\0",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_broken_is_refused(data: bytes) -> None:
    assert outcome(data) == "bad"


def test_what_cannot_be_a_header_any_more_is_refused_before_it_ends() -> None:
    """A sender that announces 60 KB would otherwise be waited for."""
    assert outcome(SIGNATURE + b"\x21\x11\xff\xff") == "bad"
    assert outcome(SIGNATURE + b"\x20\x00\xff\xff") == "bad"
    assert outcome(SIGNATURE + b"\x21\x11\x00\x0b") == "bad"
    assert outcome(b"PROXY TCP4 " + b"1" * 97) == "bad"


def test_no_message_repeats_what_came() -> None:
    for data in BAD.values():
        with pytest.raises(BadProxyHeader) as error:
            parse(data)
        assert "203.0.113" not in str(error.value)


def test_the_checksum_is_that_of_the_standard() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


addresses4 = st.ip_addresses(v=4)
addresses6 = st.ip_addresses(v=6)
ports = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
values = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=40)),
    max_size=5,
).map(lambda pairs: [tlv(*pair) for pair in pairs])


@st.composite
def composed(draw: st.DrawFn) -> tuple[bytes, str | None]:
    """A header, and the address in it as the standard library's parser of addresses has it."""
    version = draw(st.sampled_from(["v1", "v2", "v2 checksum", "local"]))
    six = draw(st.booleans())
    source, target = (draw(addresses6 if six else addresses4) for _ in range(2))
    mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
    told = str(mapped or source)
    if version == "v1":
        return v1("TCP6" if six else "TCP4", str(source), str(target), draw(ports)), told
    block = (inet6 if six else inet)(str(source), str(target), draw(ports))
    kind = 0x21 if six else 0x11
    more = draw(values)
    if version == "v2":
        return v2(PROXY, kind, block + b"".join(more)), told
    if version == "v2 checksum":
        return with_checksum(PROXY, kind, block, *more), told
    return v2(LOCAL, draw(st.integers(0, 255)), draw(st.binary(max_size=60))), None


@given(composed(), st.binary(max_size=200))
def test_what_is_composed_is_read_back(header: tuple[bytes, str | None], follows: bytes) -> None:
    data, source = header
    # By chance a LOCAL block may hold a value of the checksum's type.
    if source is None and outcome(data) == "bad":
        assert b"\3" in data[16:]
        return
    assert parse(data + follows) == ProxyHeader(len(data), source)
    assert all(parse(data[:size]) is None for size in range(len(data)))


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda b: SIGNATURE + b)))
@example(b"")
@example(SIGNATURE)
@example(b"PROXY ")
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    found = outcome(data)
    if isinstance(found, ProxyHeader):
        assert 0 < found.size <= len(data)
        assert parse(data[: found.size]) == found


@given(composed(), st.data())
def test_a_change_is_refused_or_read_as_what_it_then_says(
    header: tuple[bytes, str | None], data: st.DataObject
) -> None:
    whole, _ = header
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    found = outcome(bytes(changed))
    if isinstance(found, ProxyHeader) and found.source not in (None, UNKNOWN):
        six = changed[13] >> 4 == 2
        binary = changed.startswith(SIGNATURE)
        said = ip_address(
            bytes(changed[16:32] if six else changed[16:20])
            if binary
            else changed.split(b" ")[2].decode()
        )
        mapped = said.ipv4_mapped if isinstance(said, IPv6Address) else None
        assert found.source == str(mapped or said)


@given(st.booleans(), addresses4, addresses6, ports, values, st.data())
def test_with_a_checksum_a_change_is_refused_or_of_no_consequence(
    six: bool,
    four: IPv4Address,
    sixth: IPv6Address,
    both: tuple[int, int],
    more: list[bytes],
    data: st.DataObject,
) -> None:
    """What the checksum does not cover any more is its own type and length; a change of those
    leaves the addresses as they were.
    """
    block = inet6(str(sixth), ports=both) if six else inet(str(four), ports=both)
    whole = with_checksum(PROXY, 0x21 if six else 0x11, block, *more)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    found = outcome(bytes(changed))
    if isinstance(found, ProxyHeader):
        assert found.source == parse(whole).source  # type: ignore[union-attr]  # it is whole
