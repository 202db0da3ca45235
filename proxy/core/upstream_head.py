"""The head that goes upstream: the client's request as it passes, then what only we may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead
    from proxy.core.rules import Rules


def upstream_head(x: Exchange, permit: Permit, rules: Rules, host: bytes) -> bytes:
    """Return the request head for the upstream, from the request line to the blank line.

    `host` is the value of `Host`.
    """
    return opening(x, permit, rules, host) + names(x)


def names(x: Exchange) -> bytes:
    """Return the end of the head, which is another one for each request: its id and its trace."""
    return f"X-Request-Id: {x.request_id}\r\ntraceparent: {x.traceparent}\r\n\r\n".encode("ascii")


def opening(x: Exchange, permit: Permit, rules: Rules, host: bytes) -> bytes:
    """Return the head up to its `names`. What it holds follows from `permit` and the client's head.

    The body's framing is what the client declared: a Content-Length is kept, chunks stay chunks
    (RFC 9112 section 6).
    """
    head, client, credential = x.head, x.client, permit.credential
    noted = head.noted
    parts = [f"{head.method} {permit.target} HTTP/1.1\r\nHost: ".encode("ascii"), host, b"\r\n"]
    rules.request_filter.add_passing(
        parts,
        head.fields,
        connection=noted.get(b"connection"),
        trusted=client.trusted,
        bearer_used=credential is not None and credential.source == "bearer",
        # W3C Trace Context, section 4.3: a trace that begins here has no state yet.
        trace_kept=x.trace_kept,
    )
    if permit.session is not None:
        parts.append(permit.session.identity_lines(permit.route.identity))
    parts.append(rules.proxies.forwarding_lines(head, client, noted[b"host"]))
    if prefix := _prefix(head, permit.prefix, trusted=client.trusted):
        parts.append(b"X-Forwarded-Prefix: %b\r\n" % prefix)
    if b"transfer-encoding" in noted:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif b"content-length" in noted:
        parts.append(b"Content-Length: %b\r\n" % noted[b"content-length"])
    if permit.upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    return b"".join(parts)


def _prefix(head: RequestHead, ours: str | None, *, trusted: bool) -> bytes:
    """Return what was cut off the path on its way here and by us, as one value; b"" for nothing.

    A trusted proxy that sends several has been refused before (client.py).
    """
    outer = (head.get(b"x-forwarded-prefix") or b"") if trusted else b""
    return outer if ours is None else outer.rstrip(b"/") + ours.encode("ascii")
