"""What the parts of the data path know of each other around a client's connection.

The listener owns the connection and calls the gateway; the gateway answers on it. These are the two
sides of that, so that neither file needs the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from proxy.core.client import Client
    from proxy.core.head import RequestHead
    from proxy.errors import ProxyError


class Payload(Protocol):
    """A request's body as aiohttp's parser gives it out: its StreamReader."""

    def is_eof(self) -> bool:
        """Whether all of it has come."""

    def read_nowait(self, n: int = -1) -> bytes:
        """Return what is there."""

    async def readany(self) -> bytes:
        """Return what is there, waiting until there is something; b"" at the end."""


class Begun(Protocol):
    """An exchange in the lane, as the listener sees it."""

    async def go_on(self, payload: Payload) -> bool:
        """Go on in the connection's task; return whether the connection can carry another one."""

    def leave(self) -> None:
        """Give it to the connection's task (`take_back`)."""

    def client_gone(self) -> None:
        """The client's connection has ended."""


class Answerer(Protocol):
    """The gateway, as the listener sees it. `closing`: every answer is the last on its
    connection.
    """

    closing: bool

    def enter(self, client: Downstream, data: bytes, /) -> Begun | None:
        """Answer a request without the connection's task, if its head is known; else None."""

    def trusts(self, peer: str) -> bool:
        """Whether the peer of a connection is one of `trusted_proxies`."""

    async def handle(self, client: Downstream, head: RequestHead, payload: Payload) -> bool:
        """Answer one request; return whether the connection can carry another one."""

    async def refuse(self, client: Downstream, error: ProxyError) -> None:
        """Answer what cannot be judged: bytes that are no request."""

    async def turn_away(self, client: Downstream, head: RequestHead, why: ProxyError) -> None:
        """Answer the request of a connection too many."""


class Splice(Protocol):
    """A tunnel, as the listener sees it."""

    def from_client(self, data: bytes) -> None:
        """Bytes came from the client."""

    def client_gone(self) -> None:
        """The client's connection has ended."""

    def client_writable(self, writable: bool) -> None:
        """The client takes bytes again, or is behind."""

    def close(self, code: int) -> None:
        """End it with a Close frame of this code."""

    def expire(self) -> None:
        """Its deadline has passed."""


class Downstream(Protocol):
    """A client's connection, as the gateway sees it.

    `head_sent`: the head of an answer has been written. `whoever` is the client as the connection
    alone shows it, before any forwarding header is believed. `read_deadline` (time.monotonic, in
    seconds) is when the client must have sent something, and `waits_since` when somebody began to
    wait for its body.
    """

    head_sent: bool
    whoever: Client
    read_deadline: float
    waits_since: float
    transport: asyncio.Transport | None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer that is under way."""

    @property
    def stalled(self) -> bool:
        """Whether the client is behind in taking what was written."""

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionError when the client is gone."""

    async def drain(self) -> None:
        """Wait until the client has taken enough; one that takes too little is cut off."""

    def abort(self) -> None:
        """End the connection with a reset."""

    def give_way(self) -> bool:
        """End the connection, so that somebody else can have what it holds, if the client takes
        too little of its answer; return whether it does.
        """

    def passed(self) -> None:
        """The exchange in the lane has ended with its answer."""

    def take_back(self, begun: Begun) -> None:
        """Let the connection's task go on with an exchange that cannot end in the lane."""

    def open_tunnel(self, tunnel: Splice) -> bytes:
        """Give everything that comes from now on to `tunnel`; return what has come since the
        head.
        """
