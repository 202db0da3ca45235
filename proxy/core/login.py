"""Sign-in for people: when a refused request is sent to the app's sign-in page instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from proxy.core.head import RequestHead
    from proxy.core.target import Target

_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_WEIGHT: Final = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)


def login_redirect(
    head: RequestHead, login_url: str | None, origin: str | None, target: Target
) -> str | None:
    """Return the Location of a 302 to `login_url`, or None where the client gets the 401.

    Redirected are GET and HEAD of a top-level navigation: `Sec-Fetch-Mode: navigate` or, from a
    browser too old to send it, `Accept` preferring a page without `X-Requested-With`. `origin` is
    where the browser reaches us; it begins the `callbackUrl`, so it must not be taken from what the
    client says. None: the redirect goes without one. Raises BadRequest if a header that decides
    came twice.
    """
    if not login_url or head.method not in ("GET", "HEAD") or not _is_navigation(head):
        return None
    if origin is None:
        return login_url
    query = "" if target.query is None else f"?{target.query}"
    joint = "&" if "?" in login_url else "?"
    return f"{login_url}{joint}callbackUrl={quote(f'{origin}{target.path}{query}', safe='')}"


def _is_navigation(head: RequestHead) -> bool:
    mode = head.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    if head.get(b"x-requested-with") is not None:
        return False
    return _prefers_page((head.get(b"accept") or b"").decode("latin-1"))


def _prefers_page(accept: str) -> bool:
    """Whether the type of most weight, or the first of several, is a page (RFC 9110, 12.5.1)."""
    best, best_weight = "", 0.0
    for item in accept.split(","):
        media, _, parameters = item.partition(";")
        weight = 1.0
        for parameter in parameters.split(";"):
            found = _WEIGHT.fullmatch(parameter)
            weight = float(found[1]) if found else weight
        if weight > best_weight:
            best, best_weight = media.strip(" \t").lower(), weight
    return best in _PAGES
