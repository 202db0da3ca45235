"""Headers of the PROXY protocol: what a strict reader of the specification reads is what we read,
with whatever follows, and however it is cut; nothing else is a header.

Input: the first bytes of a connection. The reader below is written from the document (haproxy's
doc/proxy-protocol.txt) and shares nothing with the parser but the limits that are ours: 4,096 bytes
at most, and no address for who is not a client by TCP.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.core.proxy_protocol import UNKNOWN, BadProxyHeader, parse
from tests.fuzz.finding import require

HEAD_BYTES: Final = 0
SIGNATURE: Final = bytes.fromhex("0D0A0D0A000D0A515549540A")
_MOST: Final = 4096
_ADDRESSES: Final = {0: 0, 1: 12, 2: 36, 3: 216}

_V2: Final = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1, 1, 2, 3, 4])
_MAPPED: Final = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])
WORDS: Final = (
    *(b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"\r\n", b"\r", b"\n", b" "),
    *(b"192.0.2.1", b"255.255.255.255", b"0.0.0.0", b"01.2.3.4", b"256.1.1.1", b"1.2.3", b"::1"),
    *(b"2001:db8::7", b"::ffff:192.0.2.1", b"::", b"1:2:3:4:5:6:7:8", b"%lo", b"12345::", b":::"),
    *(b"65535", b"65536", b"0", b"00", b"-1", b"+1", b"443", b"\0", b"\xff", b"\t"),
    *(SIGNATURE, b"\x20", b"\x21", b"\x22", b"\x31", b"\x11", b"\x12", b"\x31\x11", b"\x0c"),
    *(b"\x03\0\x04\0\0\0\0", b"\x04\0\0", b"\x20\0\x05\x01\0\0\0\0", b"\x02\0\x01a", _MAPPED),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What bytes are: a `header`, `bad`, or the beginning of a header, `more`."""

    kind: str
    size: int = 0
    source: str | None = None


BAD: Final = Verdict("bad")
MORE: Final = Verdict("more")


def seeds() -> Iterable[bytes]:
    """Begin with headers of each kind, alone and before a request."""
    lines = [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n",
        b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
        b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 0\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n",
        b"PROXY " + b"x" * 110,
    ]
    six = bytes(range(32)) + b"\0\1\0\2"
    blocks = [
        _V2,
        SIGNATURE + b"\x20\0\0\0",
        SIGNATURE + b"\x20\x11\0\x02ab",
        SIGNATURE + b"\x21\x21\0\x24" + six,
        SIGNATURE + b"\x21\x21\0\x24" + _MAPPED + _MAPPED + b"\0\1\0\2",
        SIGNATURE + b"\x21\x11\0\x10" + _V2[16:] + b"\x04\0\x01x",
        SIGNATURE + b"\x21\x31\0\xd8" + bytes(216),
        SIGNATURE + b"\x21\x12\0\x0c" + _V2[16:],
        SIGNATURE + b"\x21\0\0\0",
        with_checksum(b"\x21\x11", _V2[16:]),
        with_checksum(b"\x20\0", b""),
    ]
    for header in (*lines, *blocks):
        yield from (header, header + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", header[:-1])


def with_checksum(start: bytes, addresses: bytes) -> bytes:
    """Return a header of version 2 with its checksum behind the addresses."""
    length = len(addresses) + 7
    header = SIGNATURE + start + struct.pack(">H", length) + addresses + b"\x03\0\x04"
    return header + struct.pack(">I", crc(header + bytes(4)))


def crc(data: bytes) -> int:
    """RFC 3720 appendix B.4, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF


def check(data: bytes) -> None:
    """Judge one input."""
    wanted, found = read(data), ours(data)
    if wanted is MORE:
        # It may be refused before it is whole, if nothing makes a header of it any more.
        require(found.kind != "header", "a header that is not whole")
        if found is BAD:
            for more in (b"\0" * _MOST, b"\r\n", b" 1.2.3.4 1.2.3.4 1 2\r\n", b"UNKNOWN\r\n"):
                require(read(data + more).kind != "header", "refused too early")
    else:
        require(found == wanted, f"read as {found}, not {wanted}")
    _check_cuts(data, found)


def _check_cuts(data: bytes, whole: Verdict) -> None:
    """However the bytes come, the verdict is the same, and only once it can be known."""
    for size in range(min(len(data), 300)):
        part = ours(data[:size])
        if part is BAD:
            require(whole is BAD, "refused in pieces, and taken whole")
            return
        if part is not MORE:
            require(part == whole and size == part.size, "another header in pieces")
            return


def ours(data: bytes) -> Verdict:
    """Return what the product makes of the bytes."""
    try:
        header = parse(data)
    except BadProxyHeader:
        return BAD
    return MORE if header is None else Verdict("header", header.size, header.source)


def read(data: bytes) -> Verdict:
    """Return what the bytes are by the specification."""
    for start, reader in ((b"PROXY ", _read_line), (SIGNATURE, _read_binary)):
        if data[: len(start)] == start:
            return reader(data)
        if data == start[: len(data)]:
            return MORE
    return BAD


def _read_line(data: bytes) -> Verdict:
    """Section 2.1: at most 107 bytes, CRLF included; one space between each two words."""
    for end in range(107 - 1):
        if data[end : end + 2] == b"\r\n":
            break
    else:
        return BAD if len(data) >= 107 else MORE
    words = data[6:end].split(b" ")
    if words[0] == b"UNKNOWN":
        return Verdict("header", end + 2, UNKNOWN)
    families = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}
    if len(words) != 5 or words[0] not in families:
        return BAD
    family = families[words[0]]
    source, target = _packed(family, words[1]), _packed(family, words[2])
    if source is None or target is None or not all(_is_port(word) for word in words[3:]):
        return BAD
    return Verdict("header", end + 2, _text(source))


def _packed(family: int, word: bytes) -> bytes | None:
    try:
        return socket.inet_pton(family, word.decode("ascii"))
    except (OSError, ValueError):  # ValueError: not ASCII, or a NUL in it
        return None


def _is_port(word: bytes) -> bool:
    digits = bytes(byte for byte in word if byte in b"0123456789")
    return 0 < len(word) <= 5 and digits == word and b"%d" % min(int(word), 65535) == word


def _text(packed: bytes) -> str:
    """Return an address in canonical form; IPv4 that is mapped into IPv6 is IPv4."""
    if len(packed) == 16 and packed[:12] == _MAPPED[:12]:
        packed = packed[12:]
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return _compressed([f"{packed[at] << 8 | packed[at + 1]:x}" for at in range(0, 16, 2)])


def _compressed(groups: list[str]) -> str:
    """Join by RFC 5952 section 4.2: the first of the longest runs of zeros, of two at least."""
    best, at = (0, 0), 0
    while at < 8:
        length = 0
        while at + length < 8 and groups[at + length] == "0":
            length += 1
        if length >= 2 and length > best[1]:
            best = at, length
        at += length or 1
    if not best[1]:
        return ":".join(groups)
    return ":".join(groups[: best[0]]) + "::" + ":".join(groups[sum(best) :])


def _read_binary(data: bytes) -> Verdict:
    """Section 2.2."""
    if len(data) < 16:
        return MORE
    version, family, length = struct.unpack(">BBH", data[12:16])
    size = 16 + length
    if version not in (0x20, 0x21) or size > _MOST:
        return BAD
    addresses, transport = _ADDRESSES.get(family >> 4), family & 15
    client = version == 0x21
    if client and (addresses is None or transport > 2):
        return BAD
    if client and transport and length < (addresses or 0):
        return BAD
    if len(data) < size:
        return MORE
    if addresses is not None:
        strict = client and transport != 0
        if not _holds(data[:size], 16 + addresses, strict=strict):
            return BAD
    if not client:
        return Verdict("header", size, None)
    width = {0x11: 4, 0x21: 16}.get(family)
    return Verdict("header", size, UNKNOWN if width is None else _text(data[16 : 16 + width]))


def _holds(header: bytes, at: int, *, strict: bool) -> bool:
    """Whether the values fill the rest of the header, if they must, and every checksum fits."""
    rest = header[at:]
    while rest:
        if len(rest) < 3 or len(rest) < 3 + (length := struct.unpack(">H", rest[1:3])[0]):
            return not strict
        if rest[0] == 3:
            value, place = rest[3 : 3 + length], len(header) - len(rest) + 3
            zeroed = header[:place] + bytes(length) + header[place + length :]
            if length != 4 or struct.pack(">I", crc(zeroed)) != value:
                return False
        rest = rest[3 + length :]
    return True


def describe(data: bytes) -> str:
    """Return an input for people."""
    return f"{data!r}\nstrict: {read(data)}\nours: {ours(data)}"
