"""Who the client is and how it reached us, as far as that can be known behind other proxies.

The law of this file: a forwarding header is believed only when it is one of `trusted_headers` and
came from one of `trusted_proxies`. A chain is read from the right, where our own proxy wrote, and
only as far left as every hop is trusted: what stands further left, anybody may have sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from proxy.core.forwarded import forwarded_element, node_address, parse_forwarded
from proxy.core.proxy_protocol import UNKNOWN
from proxy.core.target import parse_host
from proxy.errors import BadRequest

if TYPE_CHECKING:
    from proxy.core.head import RequestHead

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_PORT: Final = b"x-forwarded-port"
_PREFIX: Final = b"x-forwarded-prefix"
_FORWARDED: Final = b"forwarded"
_KNOWN: Final = (_FOR, _PROTO, _HOST, _PORT, _FORWARDED)

# Proxies write ws and wss for WebSocket requests.
_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}

# Peers that have no address: of a unix socket, and one that only its load balancer knows.
_NO_ADDRESS: Final = frozenset({"unix", UNKNOWN})

# Longer chains do not occur, and each hop costs a look at an address.
_HOPS_MAX: Final = 32

# Clients by what they were read from; emptied when full, and nothing large is kept.
_MEMO_MAX: Final = 4096
_MEMO_KEY_MAX_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Client:
    """The client's address and the scheme that it used (http or https).

    Without an address it is "unix" (a unix socket) or "unknown" (only a load balancer knows it).

    `trusted` is whether the peer on the connection, which may be another, is a trusted proxy.
    """

    address: str
    scheme: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class _Peer:
    """`name` is how the peer is written; `address` is canonical, or None where there is none."""

    name: str
    address: str | None
    trusted: bool


class TrustedProxies:
    """The peers whose forwarding headers are believed, and which of these headers.

    `networks` are addresses, networks in CIDR form, and `unix`. Raises ValueError for anything
    else, and for a header that is none of X-Forwarded-For, -Proto, -Host, -Port and Forwarded.
    """

    def __init__(self, networks: Iterable[str], headers: Iterable[str]) -> None:
        listed = tuple(networks)
        self._unix = "unix" in listed
        self._networks = tuple(_network(text) for text in listed if text != "unix")
        names = {name.lower().encode() for name in headers}
        if not names <= set(_KNOWN):
            raise ValueError("can be trusted: X-Forwarded-For, -Proto, -Host, -Port, Forwarded")
        self._believed = tuple(name for name in _KNOWN if name in names)
        self._peers: dict[str, _Peer] = {}
        self._clients: dict[tuple[object, ...], Client] = {}
        self._lines: dict[tuple[object, ...], bytes] = {}

    def client(self, head: RequestHead) -> Client:
        """Return who sent `head`.

        Raises BadRequest when a believed header comes twice, cannot be read, or is contradicted by
        another believed one: a proxy that writes such headers is not the one that was meant to be
        trusted. So it is with X-Forwarded-Prefix, which upstream_head.py passes on.
        """
        peer = self._peer(head.peer)
        key: tuple[object, ...] = (head.peer, head.tls)
        if peer.trusted:
            if head.repeated is not None:
                head.get(_PREFIX)
            key += tuple([head.get(name) for name in self._believed])
        client = self._clients.get(key)
        if client is None:
            client = self._read(head, peer)
            if sum(len(part) for part in key if isinstance(part, bytes)) <= _MEMO_KEY_MAX_BYTES:
                if len(self._clients) >= _MEMO_MAX:
                    self._clients.clear()
                self._clients[key] = client
        return client

    def trusts(self, peer: str) -> bool:
        """Whether a peer, as its connection shows it, is one of the trusted proxies."""
        return self._peer(peer).trusted

    def warns(self, head: RequestHead, client: Client) -> bool:
        """Whether the operator should hear that a peer who is not trusted sends such headers."""
        return not client.trusted and not head.noted.keys().isdisjoint(_KNOWN)

    def forwarding_lines(self, head: RequestHead, client: Client, host: bytes) -> bytes:
        """Return the header lines, each ending CRLF, that tell the upstream of `client`.

        `host` is the value of `Host`. X-Forwarded-For and Forwarded are continued if they were
        believed, else begun anew; the others have one value, a believed one or what we saw
        ourselves. Forwarded is sent only where it is trusted.
        """
        key: tuple[object, ...] = (head.peer, head.tls, host)
        if client.trusted:
            key = (*key, *map(head.noted.get, self._believed))
        lines = self._lines.get(key)
        if lines is None:
            lines = self._forwarding_lines(head, client, host)
            if len(self._lines) >= _MEMO_MAX:
                self._lines.clear()
            if len(lines) <= _MEMO_KEY_MAX_BYTES:
                self._lines[key] = lines
        return lines

    def _forwarding_lines(self, head: RequestHead, client: Client, host: bytes) -> bytes:
        peer = self._peer(head.peer).address
        believed = self._believed_in(head) if client.trusted else {}
        chain = believed.get(_FOR)
        if chain is None:
            itself = client.address == peer or client.address in _NO_ADDRESS
            chain = b"" if itself else client.address.encode()
        if peer is not None:
            chain = b"%b, %b" % (chain, peer.encode()) if chain else peer.encode()
        public = believed.get(_HOST, host)
        port = believed.get(_PORT) or b"%d" % parse_host(public).port_at(client.scheme)
        scheme = client.scheme.encode()
        lines = b"X-Forwarded-For: %b\r\n" % chain if chain else b""
        lines += b"X-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Port: %b\r\n" % (
            scheme,
            public,
            port,
        )
        if _FORWARDED in self._believed:
            ours = forwarded_element(peer, host, "https" if head.tls else "http")
            written = believed.get(_FORWARDED)
            lines += b"Forwarded: %b\r\n" % (
                ours if written is None else b"%b, %b" % (written, ours)
            )
        return lines

    def _believed_in(self, head: RequestHead) -> dict[bytes, bytes]:
        """Return the believed headers of a trusted peer that are there and not empty."""
        return {name: value for name in self._believed if (value := head.get(name))}

    def _peer(self, text: str) -> _Peer:
        peer = self._peers.get(text)
        if peer is None:
            if text in _NO_ADDRESS:
                peer = _Peer(text, None, text == "unix" and self._unix)
            else:
                # A zone (fe80::1%eth0) names an interface of ours.
                address = node_address(text.partition("%")[0]) or text
                peer = _Peer(text, address, self._trusts(address))
            if len(self._peers) >= _MEMO_MAX:
                self._peers.clear()
            self._peers[text] = peer
        return peer

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _read(self, head: RequestHead, peer: _Peer) -> Client:
        address = peer.address or peer.name
        scheme = "https" if head.tls else "http"
        if not peer.trusted:
            return Client(address, scheme, False)
        believed = self._believed_in(head)
        if _HOST in believed:
            parse_host(believed[_HOST])
        if _PORT in believed:
            _check_port(believed[_PORT])
        chain = believed.get(_FOR)
        sender = None
        if chain is not None:
            nodes = chain.rsplit(b",", _HOPS_MAX)
            sender = self._walk(address, [node.strip(b" \t") for node in nodes])[0]
        used = _scheme(believed.get(_PROTO))
        if _FORWARDED in believed:
            other, other_scheme = self._read_forwarded(address, believed[_FORWARDED])
            sender = _agreed(sender, other)
            used = _agreed(used, other_scheme)
        return Client(sender or address, used or scheme, True)

    def _read_forwarded(self, peer: str, value: bytes) -> tuple[str | None, str | None]:
        elements = parse_forwarded(value)[-_HOPS_MAX:]
        if not elements:
            return None, None
        address, read = self._walk(peer, [element.get(b"for", b"") for element in elements])
        # Each element tells which scheme its sender used, and the last one read is the client's.
        return address, _scheme(elements[-read].get(b"proto"))

    def _walk(self, peer: str, nodes: Sequence[bytes]) -> tuple[str, int]:
        """Return the right-most address that is not trusted, and how many nodes were read.

        Where a node is no address nobody knows who sent what stands left of it: the last address
        counts.
        """
        address, read = peer, 0
        for node in reversed(nodes):
            read += 1
            sender = node_address(node.decode("latin-1"))
            if sender is None:
                break
            address = sender
            if not self._trusts(address):
                break
        return address, read

    def __repr__(self) -> str:
        return f"<TrustedProxies {len(self._networks) + self._unix} networks>"


def _network(text: str) -> IPv4Network | IPv6Network:
    """Return the network that `text` writes, with IPv4 addresses mapped into IPv6 as IPv4."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _scheme(value: bytes | None) -> str | None:
    """Read a forwarded scheme. A list of several has as little meaning as two header lines."""
    if value is None:
        return None
    scheme = _SCHEMES.get(value.lower())
    if scheme is None:
        raise BadRequest("the forwarded scheme is none of http, https, ws, wss")
    return scheme


def _check_port(value: bytes) -> None:
    if not (value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65535):
        raise BadRequest("X-Forwarded-Port is no port")


def _agreed(one: str | None, other: str | None) -> str | None:
    """Return what both headers say. A client may have sent the one that our proxy does not."""
    if one is not None and other is not None and one != other:
        raise BadRequest("X-Forwarded-* and Forwarded contradict each other")
    return one if other is None else other
