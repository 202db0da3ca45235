"""How others read the bytes of a client: the strict reading, h11, and Node's HTTP server."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import h11

from tests.fuzz.strict import Request, Requests, read_requests

_NODE: Final = Path(__file__).with_name("node.mjs")


def by_h11(data: bytes) -> Requests:
    """Read a client's bytes as an h11 server does that answers each request."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(data)
    found = Requests([])
    pieces: list[bytes] = []
    while True:
        try:
            event = server.next_event()
        except h11.RemoteProtocolError as error:
            found.fault = str(error)
            return found
        if isinstance(event, h11.Request):
            minor = int(event.http_version[2:])
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            found.requests.append(Request(event.method, event.target, minor, fields))
            pieces = []
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            found.requests[-1].body = b"".join(pieces)
            server.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is not h11.DONE or server.their_state is not h11.DONE:
                found.fault = "the connection ends here"
                return found
            server.start_next_cycle()
        else:  # NEED_DATA, PAUSED
            return found


class Node:
    """A Node process that reads what it is asked about."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(_NODE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def read(self, data: bytes) -> Requests:
        """Read a client's bytes as Node's HTTP server does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(len(data).to_bytes(4, "big") + data)
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        requests = [
            Request(
                each["method"].encode("latin-1"),
                each["target"].encode("latin-1"),
                1,
                [],
                None if each["body"] is None else base64.b64decode(each["body"]),
            )
            for each in answer["requests"]
        ]
        return Requests(requests, answer["fault"])


@cache
def _node() -> Node:
    return Node()


def by_node(data: bytes) -> Requests:
    """Read a client's bytes as Node's HTTP server does."""
    return _node().read(data)


PURE: Final = ("RFC 9112", "h11")
"""The opinions that need no other process."""
OPINIONS: Final[dict[str, Callable[[bytes], Requests]]] = {
    "RFC 9112": read_requests,
    "h11": by_h11,
    "Node": by_node,
}
