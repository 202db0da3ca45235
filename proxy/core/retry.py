"""When a request may be sent once more.

A request that reached an endpoint may have been acted on, whatever became of the answer. So: always
after a connection that did not come about; after a pooled connection that had ended before a byte
of the answer only when repeating is harmless (RFC 9110 section 9.2.2); never otherwise, and never
when part of the body is gone.
"""

from __future__ import annotations

from typing import Final, TypeGuard

from proxy.errors import (
    ConnectionStale,
    ConnectTimeout,
    Failure,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)

IDEMPOTENT: Final = frozenset(
    {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY", "PROPFIND", "REPORT", "SEARCH"}
)
FRESH_ENOUGH: Final = 1.0
"""Seconds for which a pooled connection may have been idle and still carry a request that must
not be repeated: endpoints close idle connections after two seconds at the earliest (gunicorn),
and what is lost then stays lost.
"""


def may_retry(
    failure: Failure, method: str, *, attempts: int, limit: int, replayable: bool
) -> bool:
    """Whether to try again after `failure`, with `attempts` tries made of at most `limit`.

    `replayable`: the whole body is at hand.
    """
    if attempts >= limit or not replayable:
        return False
    if isinstance(failure, ConnectionStale):
        return method in IDEMPOTENT
    return isinstance(failure, UpstreamUnreachable | ConnectTimeout)


def max_idle(method: str, pool_idle: float) -> float:
    """Return for how many seconds a pooled connection may have been idle to carry this request."""
    return pool_idle if method in IDEMPOTENT else min(pool_idle, FRESH_ENOUGH)


def is_its_own(failure: BaseException) -> TypeGuard[Failure]:
    """Whether `failure` is held against the endpoint: it could not be reached, it was late, or
    what it said was no answer. That an idle connection had ended is not: endpoints close those.
    """
    if isinstance(failure, ConnectionStale):
        return False
    return isinstance(failure, UpstreamUnreachable | UpstreamTimeout | UpstreamProtocol)
