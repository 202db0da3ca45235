"""The PROXY protocol, versions 1 and 2, as a receiver reads it (haproxy's doc/proxy-protocol.txt).

A load balancer that passes bytes on without reading them puts one such header in front of the first
bytes of each connection: who it is that connects. Sections named here are those of that document.
Facts:
- A receiver never guesses whether there is a header (section 2): who asks has decided that there
  must be one, by who is at the other end. So what is no header is a fault, and no HTTP request.
- LOCAL says that the load balancer itself connects, to see whether we live: the real ends of the
  connection count (section 2.2).
- UNKNOWN, UNSPEC, datagrams and unix sockets say that somebody else connects who has no address
  that we could use. A receiver may take the real ends of the connection instead. We do not: the
  load balancer is trusted, and what an unknown client sends through it is not its word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""How version 2 begins (section 2.2)."""
UNKNOWN: Final = "unknown"
"""The address of a client of whom only the load balancer knows who it is."""

_LINE_START: Final = b"PROXY "
_LINE_MAX: Final = 107
_V2_START: Final = 16
_V2_MAX: Final = 4096
"""Bytes of a header in all, as in nginx: client certificates in a TLV are the longest there is."""
# No leading zeros and no second way of writing a port (section 2.1). The standard library, which
# reads the addresses, refuses leading zeros, too.
_LINE: Final = re.compile(
    rb"PROXY (?:TCP4 ([0-9.]{7,15}) ([0-9.]{7,15})|TCP6 ([0-9A-Fa-f:.]{2,39})"
    rb" ([0-9A-Fa-f:.]{2,39})) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)
_UNKNOWN_LINE: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?", re.DOTALL)
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_SIZES: Final = (0, 12, 36, 216)
"""Bytes of the addresses, by family: unspecified, IPv4, IPv6, unix (section 2.2)."""
_TCP: Final = {0x11: 4, 0x21: 16}
"""Family and transport of TCP -> bytes of one address."""
_TRANSPORTS: Final = 3
_CHECKSUM: Final = 0x03


class BadProxyHeader(ValueError):
    """What came is no PROXY header; the text says why and repeats nothing of it.

    `missing`: it does not even begin like one.
    """

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says. `size` is its length in bytes; what follows is the client's.

    `source` is the client's address in canonical form (IPv4 that is mapped into IPv6 is IPv4),
    UNKNOWN, or None when the load balancer itself connects.
    """

    size: int
    source: str | None


def parse(data: bytes) -> ProxyHeader | None:
    """Return the header with which `data` begins, or None while it is not whole.

    Nothing is decoded before the header is whole. Raises BadProxyHeader as soon as `data` cannot
    become a header any more.
    """
    if data.startswith(_LINE_START):
        return _parse_line(data)
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if _LINE_START.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise BadProxyHeader("the connection does not begin with a PROXY header", missing=True)


def _parse_line(data: bytes) -> ProxyHeader | None:
    """Read version 1, one line (section 2.1)."""
    end = data.find(b"\r\n", 0, _LINE_MAX)
    if end < 0:
        # One byte less may be followed by the LF of the line's end.
        if len(data) >= _LINE_MAX:
            raise BadProxyHeader(f"no end of the line within {_LINE_MAX} bytes")
        return None
    size, line = end + 2, data[:end]
    if _UNKNOWN_LINE.fullmatch(line):
        return ProxyHeader(size, UNKNOWN)
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise BadProxyHeader("the line is not that of version 1")
    if int(parts[5]) > 65535 or int(parts[6]) > 65535:
        raise BadProxyHeader("a port is over 65535")
    try:
        if parts[1]:
            IPv4Address(parts[2].decode("ascii"))
            return ProxyHeader(size, str(IPv4Address(parts[1].decode("ascii"))))
        IPv6Address(parts[4].decode("ascii"))
        return ProxyHeader(size, _canonical(IPv6Address(parts[3].decode("ascii"))))
    except ValueError:
        raise BadProxyHeader("an address is not one of its family") from None


def _parse_v2(data: bytes) -> ProxyHeader | None:
    """Read version 2, binary (section 2.2)."""
    if len(data) < _V2_START:
        return None
    command, kind = data[12], data[13]
    size = _V2_START + int.from_bytes(data[14:16])
    _check_start(command, kind, size)
    if len(data) < size:
        return None
    header = data[:size]
    local = command == _LOCAL
    # Of LOCAL the block is thrown away, whatever it holds; a checksum in it still covers the
    # command, without which a byte that was damaged would make a client the load balancer.
    family = kind >> 4
    if family < len(_SIZES):
        _check_values(header, _V2_START + _SIZES[family], lenient=local or not kind & 0x0F)
    if local:
        return ProxyHeader(size, None)
    length = _TCP.get(kind)
    if length is None:
        return ProxyHeader(size, UNKNOWN)
    packed = header[_V2_START : _V2_START + length]
    source = str(IPv4Address(packed)) if length == 4 else _canonical(IPv6Address(packed))
    return ProxyHeader(size, source)


def _check_start(command: int, kind: int, size: int) -> None:
    """Check what can be checked before the rest has come."""
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("not version 2, or neither LOCAL nor PROXY")
    if size > _V2_MAX:
        raise BadProxyHeader(f"longer than {_V2_MAX} bytes")
    if command == _LOCAL:
        return
    family, transport = kind >> 4, kind & 0x0F
    if family >= len(_SIZES) or transport >= _TRANSPORTS:
        raise BadProxyHeader("a family or transport that version 2 does not have")
    if transport and size < _V2_START + _SIZES[family]:
        raise BadProxyHeader("too short for its addresses")


def _canonical(address: IPv6Address) -> str:
    return str(address.ipv4_mapped or address)


def _check_values(header: bytes, at: int, *, lenient: bool) -> None:
    """Walk the type-length-values behind the addresses, and hold the checksum against the header.

    Each must end within the header (section 2.2); what they say is of no use to us.
    """
    while at < len(header):
        end = at + 3 + int.from_bytes(header[at + 1 : at + 3]) if at + 3 <= len(header) else 0
        if not at < end <= len(header):
            if lenient:
                return
            raise BadProxyHeader("a value behind the addresses is longer than the header")
        if header[at] == _CHECKSUM:
            _check_sum(header, at + 3, end)
        at = end


def _check_sum(header: bytes, start: int, end: int) -> None:
    """The checksum is that of the whole header with zeros in its own place (section 2.2.3)."""
    if end - start != 4:
        raise BadProxyHeader("a checksum that is not four bytes long")
    if crc32c(header[:start] + bytes(4) + header[end:]) != int.from_bytes(header[start:end]):
        raise BadProxyHeader("the checksum does not fit")


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Return the CRC32c (Castagnoli) of `data` (RFC 4960, appendix B); the standard library has
    only the other polynomial.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
