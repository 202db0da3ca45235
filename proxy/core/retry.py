"""When a request may be sent once more, and how many may.

A request that reached an endpoint may have been acted on, whatever became of the answer. So: always
after a connection that did not come about. After a request that left and of whose answer not a byte
came, only when repeating is harmless (RFC 9110 section 9.2.2): at once where a pooled connection
had ended, and where the endpoint itself failed, at another one. Never otherwise, and never when
part of the body is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeGuard

from proxy.errors import (
    AnswerLate,
    ConnectionCut,
    ConnectionGone,
    ConnectionStale,
    ConnectTimeout,
    Failure,
    Overloaded,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)

IDEMPOTENT: Final = frozenset(
    {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY", "PROPFIND", "REPORT", "SEARCH"}
)
FRESH_ENOUGH: Final = 1.0
"""Seconds for which a pooled connection may have been idle and still carry a request that is not
to be repeated: endpoints close idle connections after two seconds at the earliest (gunicorn),
and what is lost then stays lost.
"""
WINDOW: Final = 10
"""Seconds over which requests and retries are compared; Finagle's."""
FLOOR: Final = 10
"""Retries in that time that need no requests to be allowed by: where there are few requests, a
percentage of them is none.
"""


def may_retry(
    failure: Failure,
    method: str,
    *,
    attempts: int,
    limit: int,
    replayable: bool,
    another: bool,
) -> bool:
    """Whether to try again after `failure`, with `attempts` tries made of at most `limit`.

    `replayable`: the whole body is at hand; `another`: there is an endpoint that was not tried.
    """
    if attempts >= limit or not replayable:
        return False
    if isinstance(failure, ConnectionStale):
        return method in IDEMPOTENT
    if isinstance(failure, ConnectionCut | AnswerLate):
        return another and method in IDEMPOTENT
    if isinstance(failure, Overloaded):
        return another
    return isinstance(failure, UpstreamUnreachable | ConnectTimeout)


def is_free(failure: Failure, *, another: bool) -> bool:
    """Whether a retry is not charged to the budget.

    Where nobody listens, or the endpoint has no room, nothing was sent, and the request goes to an
    endpoint that has not seen it: no endpoint gets more than its clients ask for. A connection that
    does not come about in time is a sign of overload, and it is charged.
    """
    if not another or isinstance(failure, ConnectionStale):
        return False
    return isinstance(failure, UpstreamUnreachable | Overloaded)


def max_idle(method: str, pool_idle: float, *, replayable: bool) -> float:
    """Return for how many seconds a pooled connection may have been idle to carry this request."""
    again = replayable and method in IDEMPOTENT
    return pool_idle if again else min(pool_idle, FRESH_ENOUGH)


def is_its_own(failure: BaseException) -> TypeGuard[Failure]:
    """Whether `failure` is held against the endpoint: it could not be reached, it was late, or
    what it said was no answer. That an idle connection had ended is not: endpoints close those.
    """
    if isinstance(failure, ConnectionStale | ConnectionGone):
        return False
    return isinstance(failure, UpstreamUnreachable | UpstreamTimeout | UpstreamProtocol)


class RetryBudget:
    """Retries of one upstream: at most `percent` of the requests of the last `WINDOW` seconds, and
    `FLOOR`.

    It is asked with the number of requests so far, which others count; `roll` is called once a
    second.
    """

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self.retries = 0
        self._marks: deque[tuple[int, int]] = deque([(0, 0)], maxlen=WINDOW)

    def __repr__(self) -> str:
        return f"<RetryBudget retries={self.retries}>"

    def roll(self, requests: int) -> None:
        """A second has passed, and there were `requests` so far."""
        self._marks.append((requests, self.retries))

    def take(self, requests: int) -> bool:
        """Take leave for one retry; return whether there was one.

        Requests of an earlier generation ask with the number at its end: there were more since.
        """
        requests_then, retries_then = self._marks[0]
        requests = max(requests, self._marks[-1][0])
        allowed = FLOOR + (requests - requests_then) * self.percent / 100
        if self.retries - retries_then + 1 > allowed:
            return False
        self.retries += 1
        return True
