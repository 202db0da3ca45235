"""The API of the example: answers what the gateway tells it. Your own takes its place.

It has no cookie parser, no secret and no CORS. What it trusts, it may trust only because nothing
but the gateway reaches it.
"""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Api(BaseHTTPRequestHandler):
    """Every method and every path answers with the user that the headers name."""

    protocol_version = "HTTP/1.1"  # connections stay open: the gateway keeps some

    def do_GET(self) -> None:
        self._read_body()
        roles = (self.headers.get("X-User-Roles") or "").split(",")
        body = json.dumps(
            {
                "request": f"{self.command} {self.path}",
                # Not there on a public route, and where the session does not have it.
                "id": unquote(self.headers.get("X-User-Id") or "") or None,
                "name": unquote(self.headers.get("X-User-Name") or "") or None,
                "email": unquote(self.headers.get("X-User-Email") or "") or None,
                "roles": [unquote(role) for role in roles if role],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self) -> None:
        """Read it and throw it away, or the next request on the connection would begin in it."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()  # the gateway drops trailers, so this line is empty
        else:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """The gateway's access log has a line for each request."""


if __name__ == "__main__":
    # Process 1 of a container does not end by TERM unless it says so.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    ThreadingHTTPServer(("0.0.0.0", 8000), Api).serve_forever()  # noqa: S104 - in its container
