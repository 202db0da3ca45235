"""Which header fields pass, in both directions; the heads that go upstream and back to the client.

The law of this file: what a client sent is filtered first, and ours is written after, so that
nothing a client sends (a `Connection` that names our headers included) can remove, double or
imitate what we say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from proxy.core.cookies import CookieNames, strip
from proxy.core.identity import fold_name

# What happens to a field on its way upstream.
KEEP: Final = 0
DROP: Final = 1
UNTRUSTED: Final = 2  # passes only from a trusted proxy
COOKIE: Final = 3  # passes without the session cookies
AUTHORIZATION: Final = 4  # passes unless it was the session
TRACESTATE: Final = 5  # passes with the trace that it belongs to

# RFC 9110 section 7.6.1, and what RFC 2616 section 13.5.1 listed before it.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Written anew by us for every request.
_REWRITTEN: Final = frozenset(
    {
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"http2-settings",
        b"traceparent",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-request-id",
    }
)
# Names, folded to letters and digits, that some backend reads as something else than a client's
# word: a proxy setting (httpoxy, CVE-2016-5385), another method, another path, a passed check
# (CVE-2025-29927).
_NEVER: Final = re.compile(
    rb"proxy|x?httpmethod(override)?|x?methodoverride|xoriginalurl|xrewriteurl|xmiddleware.*"
    rb"|xuserassertion"
)
# Names, in lower case, that only a proxy in front of us may set: addresses, identities and paths.
# Whole words, since `X-Accelerate` is nobody's; folding is for names that are ours to set.
_PROXIES_ONLY: Final = re.compile(
    rb"(x-forwarded|remote|x-remote|x-webauth|x-auth-request|x-envoy|x-accel|x-original|x-invoke|x-now"
    rb"|x-goog-iap|x-goog-authenticated|x-amzn-oidc|x-amzn-mtls|cf-access|cf-connecting|x-pomerium"
    rb"|x-ms-client-principal|x-ms-token|x-endpoint-api|ssl-client|x-ssl-client|x-client-cert|client-cert"
    rb"|x-authentik|x-authelia|x-vouch|x-authenticated|x-consumer|x-tls-client|x-appengine"
    rb"|tailscale-user|teleport-jwt)(-.*)?"
    rb"|x-arr-clientcert|x-azure-clientip|x-azure-socketip|x-vercel-forwarded-for|x-userinfo"
    rb"|forwarded|forwarded-for|x-real-ip|(x-)?client-ip|x-cluster-client-ip|true-client-ip|fastly-client-ip"
    rb"|x-matched-path"
    rb"|x-url-scheme|x-scheme|front-end-https"
)
_BY_NAME: Final = {
    b"authorization": AUTHORIZATION,
    b"cookie": COOKIE,
    b"tracestate": TRACESTATE,
}
_PLAIN_NAME: Final = re.compile(rb"[A-Za-z0-9-]+")
_MEMO_MAX: Final = 4096
_MEMO_NAME_MAX: Final = 64
"""Bytes of a name that is remembered: names are the client's, and may be as long as a head."""
_COOKIES_MAX: Final = 2048
"""Cookie headers whose rest is remembered: a browser sends the same one with every request."""
_COOKIES_BYTES_MAX: Final = 4096
"""Bytes of a Cookie header whose rest is remembered: 8 MiB of them in all."""


def nominated(connection: bytes | None) -> frozenset[bytes]:
    """Return the field names, in lower case, that a `Connection` value declares hop-by-hop."""
    if connection is None or connection in _ORDINARY_CONNECTIONS:
        return _NOTHING
    tokens = {token.strip(b" \t").lower() for token in connection.split(b",")}
    # A length that were dropped on its way would leave a body without an end.
    return frozenset(tokens - {b"content-length"})


_NOTHING: Final[frozenset[bytes]] = frozenset()
_ORDINARY_CONNECTIONS: Final = frozenset(
    {b"keep-alive", b"close", b"Keep-Alive", b"Close", b"Upgrade", b"upgrade"}
)


class RequestFilter:
    """Chooses what a client's fields become, by name; one per configuration.

    `owned` are the folded names of the identity headers that we set; `cookies` the names of all
    session cookies of the configuration, none of which a backend is shown (unless
    `keep_session_cookie`).
    """

    def __init__(
        self, owned: Iterable[bytes], cookies: Iterable[str], *, keep_session_cookie: bool
    ) -> None:
        self._owned = frozenset(owned)
        self._cookies = CookieNames(() if keep_session_cookie else cookies)
        self._memo: dict[bytes, int] = {}
        self._stripped: dict[bytes, bytes] = {}

    def kind(self, name: bytes) -> int:
        """Return what happens to the field `name`, in any spelling."""
        kind = self._memo.get(name)
        return self._learn(name) if kind is None else kind

    def _learn(self, name: bytes) -> int:
        kind = self._classify(name)
        if len(self._memo) >= _MEMO_MAX:
            self._memo.clear()
        if len(name) <= _MEMO_NAME_MAX:
            self._memo[name] = kind
        return kind

    def _classify(self, name: bytes) -> int:
        lower, folded = name.lower(), fold_name(name)
        if lower in _HOP_BY_HOP or lower in _REWRITTEN or not _PLAIN_NAME.fullmatch(name):
            return DROP
        if folded in self._owned or is_identity(lower) or _NEVER.fullmatch(folded):
            return DROP
        if _PROXIES_ONLY.fullmatch(lower):
            return UNTRUSTED
        return _BY_NAME.get(lower, KEEP)

    def add_passing(
        self,
        parts: list[bytes],
        fields: Iterable[tuple[bytes, bytes]],
        *,
        connection: bytes | None,
        trusted: bool,
        bearer_used: bool,
        trace_kept: bool = False,
    ) -> None:
        """Append to `parts` the pieces of the lines that pass of a client's `fields`, in their
        order.

        Pieces and not lines, because joining all of them once is cheaper than formatting each.
        """
        hop = nominated(connection)
        known = self._memo.get
        for name, value in fields:
            kind = known(name)
            if kind is None:
                kind = self._learn(name)
            if kind:
                if kind == COOKIE:
                    value = self._without_session(value)
                    if not value:
                        continue
                elif (
                    kind == DROP
                    or (kind == UNTRUSTED and not trusted)
                    or (kind == AUTHORIZATION and bearer_used)
                    or (kind == TRACESTATE and not trace_kept)
                ):
                    continue
            if hop and name.lower() in hop:
                continue
            parts += (name, b": ", value, b"\r\n")

    def _without_session(self, cookies: bytes) -> bytes:
        left = self._stripped.get(cookies)
        if left is None:
            left = strip(cookies, self._cookies)
            if len(self._stripped) >= _COOKIES_MAX:
                self._stripped.clear()
            if len(cookies) <= _COOKIES_BYTES_MAX:
                self._stripped[cookies] = left
        return left


def is_identity(lower: bytes) -> bool:
    """Whether a name in lower case is one of `X-User-*`, which are ours (X-User-Agent is not)."""
    return lower.startswith(b"x-user-") and lower != b"x-user-agent"


# What happens to a field on its way to the client; KEEP and DROP as above.
CORS: Final = 2  # ours replaces it while CORS is on
CACHE_CONTROL: Final = 3  # noted
EXPOSE: Final = 4  # joined with ours
LENGTH: Final = 5  # passes where the status may have a length
DATE: Final = 6  # noted

_BACK: Final = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"access-control-expose-headers": EXPOSE,
    b"cache-control": CACHE_CONTROL,
    b"content-length": LENGTH,
    b"date": DATE,
    b"x-request-id": DROP,
    b"proxy-authenticate": KEEP,
}


class ResponseFilter:
    """Chooses what an upstream's fields become on their way to the client, by name."""

    def __init__(self, owned: Iterable[bytes]) -> None:
        self._owned = frozenset(owned)
        self.memo: dict[bytes, int] = {}

    def kind(self, name: bytes) -> int:
        """Return what happens to the field `name`, in any spelling."""
        kind = self.memo.get(name)
        if kind is None:
            lower, folded = name.lower(), fold_name(name)
            ours = folded in self._owned or is_identity(lower)
            others = CORS if lower.startswith(b"access-control-") else KEEP
            kind = DROP if ours else _BACK.get(lower, others)
            if len(self.memo) >= _MEMO_MAX:
                self.memo.clear()
            if len(name) <= _MEMO_NAME_MAX:
                self.memo[name] = kind
        return kind


def _status_lines() -> dict[int, bytes]:
    phrases = {status.value: status.phrase for status in HTTPStatus}
    return {
        code: f"HTTP/1.1 {code} {phrases.get(code, '')}\r\n".encode() for code in range(100, 600)
    }


STATUS_LINES: Final = _status_lines()
"""Status lines by code; an upstream's own reason phrase is not passed on (it may hold anything)."""
