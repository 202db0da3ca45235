"""A WSGI application that notes each POST in the file that $NOTES names. Run by gunicorn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

_NOTES = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer `ok`."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ["REQUEST_METHOD"] == "POST":
        os.write(_NOTES, body + b"\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
