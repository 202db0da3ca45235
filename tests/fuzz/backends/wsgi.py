"""The site of tests/support/backends.py as a WSGI app, by PATH_INFO or by Werkzeug's router.

`python -m tests.fuzz.backends.wsgi SERVER PORT` starts one of the servers that have no command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler as WerkzeugHandler
from werkzeug.serving import run_simple

from tests.support.backends import NOTHING, serve


def app(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
    """Serve by PATH_INFO, as most middlewares and small apps do."""
    return _answer(start, serve(environ["PATH_INFO"]))


def _answer(start: StartResponse, handler: str) -> Iterable[bytes]:
    start("200 OK", [("X-Handler", handler), ("Content-Length", "0")])
    return [b""]


_SITE = (
    ("/admin", "guarded"),
    ("/users/<name>/admin", "guarded"),
    ("/public", "open"),
    ("/users", "open"),
)
_MAP = Map(
    [
        Rule(path + rest, endpoint=handler)
        for path, handler in _SITE
        for rest in ("", "/", "/<path:rest>")
    ]
)


def routed(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
    """Serve by Werkzeug's router, which is Flask's."""
    try:
        handler, _ = _MAP.bind_to_environ(environ).match()
    except NotFound:
        return _answer(start, NOTHING)
    except HTTPException as redirect:
        return redirect(environ, start)
    return _answer(start, handler)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _QuietWerkzeug(WerkzeugHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def main() -> None:
    """Serve on 127.0.0.1."""
    server, port = sys.argv[1], int(sys.argv[2])
    if server == "werkzeug":
        run_simple("127.0.0.1", port, routed, threaded=True, request_handler=_QuietWerkzeug)
    else:
        make_server("127.0.0.1", port, app, handler_class=_Quiet).serve_forever()


if __name__ == "__main__":
    main()
