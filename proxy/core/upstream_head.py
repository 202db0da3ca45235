"""The head that goes upstream: the client's request as it passes, then what only we may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core import framing

if TYPE_CHECKING:
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.rules import Rules


def upstream_head(x: Exchange, permit: Permit, rules: Rules, host: bytes) -> bytes:
    """Return the request head for the upstream, from the request line to the blank line.

    `host` is the value of `Host`. The body's framing is what the client declared: a Content-Length is kept, chunks
    stay chunks (RFC 9112 section 6).
    """
    head, client, credential = x.head, x.client, permit.credential
    noted = head.noted
    lines = [f"{head.method} {permit.target} HTTP/1.1\r\n".encode("ascii"), b"Host: %b\r\n" % host]
    lines += rules.request_filter.lines(
        head.fields,
        connection=noted.get(b"connection"),
        trusted=client.trusted,
        bearer_used=credential is not None and credential.source == "bearer",
    )
    if permit.session is not None:
        lines.append(permit.session.identity_lines(permit.route.identity))
    lines.append(rules.proxies.forwarding_lines(head, client, noted[b"host"]))
    if permit.prefix is not None:
        lines.append(b"X-Forwarded-Prefix: %b\r\n" % permit.prefix.encode())
    if framing.is_chunked(head):
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif b"content-length" in noted:
        lines.append(b"Content-Length: %b\r\n" % noted[b"content-length"])
    if permit.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    lines.append(
        f"X-Request-Id: {x.request_id}\r\ntraceparent: {x.traceparent}\r\n\r\n".encode("ascii")
    )
    return b"".join(lines)
