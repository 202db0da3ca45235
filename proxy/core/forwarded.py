"""What proxies write about requests they pass on: node names, and `Forwarded` (RFC 7239)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from proxy.errors import BadRequest

# An address alone, or with the port that some load balancers add. No zone: it means nothing on
# another machine.
_NODE: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TEXT: Final = rb"[^\"\\\x00-\x08\x0a-\x1f\x7f]*+"
_QUOTED: Final = rb"\"%b(?:\\[\t\x20-\x7e\x80-\xff]%b)*\"" % (_TEXT, _TEXT)
_PAIR: Final = re.compile(rb"(%b)=(%b|%b)" % (_TOKEN, _TOKEN, _QUOTED))
_SPACE: Final = re.compile(rb"[ \t]*+")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN_VALUE: Final = re.compile(_TOKEN)

# A chain of twenty proxies fits; reading costs time in proportion.
_MAX_BYTES: Final = 4096


def node_address(node: str) -> str | None:
    """Return the address that a node name holds, in canonical form; None if it holds none.

    A port is left out, and an IPv4 address that is mapped into IPv6 is an IPv4 address. `unknown`
    and obfuscated names (RFC 7239 section 6) hold no address.
    """
    parts = _NODE.fullmatch(node)
    if parts is None:
        return None
    try:
        address = ip_address(parts[1] or parts[2] or parts[3])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def parse_forwarded(value: bytes) -> list[dict[bytes, bytes]]:
    """Return the elements of a `Forwarded` value: parameter in lower case -> value, unquoted.

    A quoted string ends where its quote does, whatever commas it holds (CVE-2026-57210). Raises
    BadRequest for what section 4 does not allow: one bad quote would move the borders of everything
    behind it.
    """
    if len(value) > _MAX_BYTES:
        raise BadRequest("Forwarded is too long")
    elements: list[dict[bytes, bytes]] = [{}]
    at = 0
    while True:
        at = _after_space(value, at)
        pair = _PAIR.match(value, at)
        if pair is not None:
            name = pair[1].lower()
            if name in elements[-1]:
                raise BadRequest("Forwarded has a parameter twice in one element")
            elements[-1][name] = _unquoted(pair[2])
            at = _after_space(value, pair.end())
        if at == len(value):
            return [element for element in elements if element]
        if value[at : at + 1] == b",":
            elements.append({})
        elif value[at : at + 1] != b";":
            raise BadRequest("Forwarded is not a list of parameters")
        at += 1


def forwarded_element(peer: str | None, host: bytes, scheme: str) -> bytes:
    """Return our own element for a request from the address `peer` (None: it has none)."""
    node = b"unknown" if peer is None else (f"[{peer}]" if ":" in peer else peer).encode()
    return b"for=%b;host=%b;proto=%b" % (_quoted(node), _quoted(host), scheme.encode())


def _after_space(value: bytes, at: int) -> int:
    space = _SPACE.match(value, at)
    return at if space is None else space.end()


def _unquoted(value: bytes) -> bytes:
    return _QUOTED_PAIR.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value


def _quoted(value: bytes) -> bytes:
    return value if _PLAIN_VALUE.fullmatch(value) else b'"%b"' % value
