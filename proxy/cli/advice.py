"""What an operator can do about each refusal; `explain` says it."""

from __future__ import annotations

from typing import Final

ADVICE: Final = {
    "bad_request": "Correct the request: the reason says what is wrong with it.",
    "bad_target": "Escape the character in the URL (RFC 3986), or correct the URL.",
    "bad_host": "Send a Host header with a host name and at most a port.",
    "ambiguous_path": (
        "Request the path in its plain form. If the backend tells the spellings apart, say so at "
        "the route: case_sensitive, strict_slash, encoded_slashes."
    ),
    "bad_cookie": "Delete the cookies of this site; together they are larger than any session.",
    "session_missing": (
        "Sign in, and see that the cookie reaches this host: its Domain, its Path, SameSite, and "
        "for scripts `credentials: 'include'`. Over https the cookie's name begins with __Secure-. "
        "An app with another cookie name needs sessions.*.cookie, mobile apps sessions.*.bearer."
    ),
    "session_invalid": (
        "See that sessions.*.secret is the app's own secret, and that the cookie has the name that "
        "the app gave it, which is part of the key; if it holds no id, that "
        "sessions.*.principal.id names the claim. `gatelodge token inspect` looks at one "
        "token alone."
    ),
    "session_expired": "Sign in again; if it has only just been made, compare the clocks.",
    "session_ambiguous": (
        "Delete the cookies of this site: two different ones of the same name came, often because "
        "the app was once configured with another Domain or Path."
    ),
    "session_revoked": "Sign in again: this session has been ended.",
    "forbidden": (
        "Give the user what the route's require asks for, and see that the app puts it into the "
        "token (in its jwt callback) under the path that sessions.*.principal names."
    ),
    "origin_refused": (
        "List the page's origin in cors.origins, or in csrf.origins if it may send but not read. "
        "If it is our own origin, set public_origin, or trust the proxy in front "
        "(trusted_proxies)."
    ),
    "no_route": "Add a route for this host and path; `gatelodge routes` lists those there are.",
    "method_refused": "Add the method to the route, or use one that it offers.",
    "request_timeout": (
        "Send the request faster, or raise limits.header_timeout or limits.body_idle."
    ),
    "body_too_large": "Send less, or raise limits.body for the route.",
    "target_too_long": "Shorten the URL, or raise limits.target.",
    "expectation_failed": "Leave out the Expect header.",
    "head_too_large": "Send fewer or shorter headers and cookies, or raise limits.head.",
    "rate_limited": "Wait as long as Retry-After says, or raise rate_limit.",
    "method_unknown": "Use another method; this one is never forwarded.",
    "coding_unknown": "Send the body with Content-Length or chunked.",
    "session_store_down": (
        "See that the session database answers: `gatelodge check --connect` tries it and says what "
        "is wrong."
    ),
    "limit_store_down": (
        "See that Redis answers (`gatelodge check --connect`), or let redis.on_failure be local."
    ),
}
"""Code of a refusal, or of a failure that a decision may end in -> what to do."""
