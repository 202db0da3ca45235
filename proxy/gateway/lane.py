"""The lane: a request whose head was permitted before goes a shorter way (passage.py).

The decision follows from the bytes of the head, the peer, the generation of the configuration and
the session alone. So what was decided and written for a head is remembered, and for the very same
bytes from the same peer it is used again, as long as the session's own memory still holds (asked
each time). Ids that proxies put into each request may differ (volatile.py). Facts that make this
sound:
- A head is learnt only when aiohttp's parser made it, alone, of one piece of data, and looked up
  only while that parser stands between two messages (intake.py). So no other reading of the bytes
  is possible, and passing the parser by leaves it where it was.
- Only what has no body and asks for nothing of the connection is learnt.
- A refusal is never learnt, nor anything that a session other than a valid one took part in.
- As whose request it counts in which rate limit follows from the same things, and each use is
  counted. A request that its limits do not admit goes the ordinary way, which asks them again and
  refuses it; one that is counted in Redis always does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.core import trace
from proxy.core.decision import counted
from proxy.core.headers import KEEP
from proxy.core.limits import give_back, take_all
from proxy.core.retry import max_idle
from proxy.core.upstream_head import opening
from proxy.gateway.attempt import Attempt
from proxy.gateway.volatile import Volatile, template

if TYPE_CHECKING:
    from proxy.core.client import Client
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.head import RequestHead
    from proxy.core.limits import Demand, Use
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session
    from proxy.telemetry.metrics import Metrics
    from proxy.upstream.pool import Pool

    Recall = Callable[[Credential, float], Session | None]
    """Credential and Unix time -> its session, if it is remembered and may still be used."""
    Uses = Callable[[Sequence[Demand]], tuple[Use, ...] | None]
    """Where a request is counted; None if that is not in this process alone."""

_HEADS: Final = 2048
_HEAD_BYTES_MAX: Final = 4096
_FIELDS_MAX: Final = 64
"""Heads that are remembered, and how large they may be: 45 MiB at the worst, 5 KiB each as a rule,
with all that was decided for them.
"""
_ONE_OF: Final = 8
"""Once full, one of so many new heads is learnt. If each were, in the place of the oldest, a few
more than fit that come in turn would all be forgotten before they come again.
"""
_SEEN_MAX: Final = 8192
"""Heads that came once. Those that never come again, with an id in their path say, are not to be
learnt.
"""
_ASKS_MORE: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})

_Key = tuple[object, ...]
"""Peer, scheme, size of the head, the head without volatile values, and the marks of these: a head
that has no value at such a place, or another kind of value, is another one.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What was decided for a head.

    `x` is the exchange that it was learnt from, `opening` the upstream's head without what names a
    request, as a template of the volatile values that are part of it. `id_mark` and `trace_mark`
    are the marks of the client's X-Request-Id and traceparent, where these are volatile values.
    `uses` are the rate limits in which it counts.
    """

    x: Exchange = field(repr=False)
    permit: Permit
    opening: tuple[bytes, ...] = field(repr=False)
    id_mark: bytes | None
    trace_mark: bytes | None
    uses: tuple[Use, ...] = field(repr=False)

    def sent(self, values: dict[bytes, bytes]) -> tuple[bytes | None, bytes | None]:
        """Return the X-Request-Id and the traceparent of a head with these volatile values."""
        sent_id, sent_trace = trace.sent(self.x.head)
        return (
            sent_id if self.id_mark is None else values[self.id_mark],
            sent_trace if self.trace_mark is None else values[self.trace_mark],
        )


class Lane:
    """The heads that one generation of the configuration has permitted."""

    def __init__(
        self,
        rules: Rules,
        pools: Mapping[str, Pool],
        recall: Recall,
        uses: Uses,
        metrics: Metrics,
    ) -> None:
        self._rules = rules
        self._pools = pools
        self._recall = recall
        self._uses = uses
        self._metrics = metrics
        self._known: dict[_Key, Known] = {}
        self._seen: set[int] = set()
        self._offered = 0
        self._volatile = Volatile()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Lane heads={len(self._known)}>"

    def learn(self, x: Exchange, permit: Permit, *, last: bool = False) -> None:
        """Remember what was decided for the head of `x`, if it came for the second time; not when
        its connection ends with it (`last`), as only its parser knows all the ways to ask for that.
        """
        head = x.head
        if last or self._closed:
            return
        if not 0 < len(head.raw) <= _HEAD_BYTES_MAX or len(head.fields) > _FIELDS_MAX:
            return
        if not _is_plain(head) or permit.upgrade:
            return
        pool = self._pools[permit.route.upstream]
        good = permit.session is not None or permit.credential is None
        if pool.tells_own_host or not good:
            return
        self._volatile.learn(head)
        cut, values = self._volatile.cut(head.raw)
        if not _are_single(head, values) or not self._came_before(cut):
            return
        scheme = "https" if head.tls else "http"
        key = head.peer, scheme, len(head.raw), cut, *values
        uses = self._uses(counted(x, permit.route, permit.route.limits.listed, permit.session))
        if uses is None or not self._has_room(key):
            return
        marks = {mark[2:-2].lower(): mark for mark in values}
        # An identity header may have such a name, and for its user the very value that was sent.
        kind = self._rules.request_filter.kind
        passing = {mark: value for mark, value in values.items() if kind(mark[2:-2]) == KEEP}
        self._known[key] = Known(
            x,
            permit,
            template(opening(x, permit, self._rules, head.noted[b"host"]), passing),
            marks.get(b"x-request-id"),
            marks.get(b"traceparent"),
            uses,
        )

    def _has_room(self, key: _Key) -> bool:
        known = self._known
        if len(known) < _HEADS or known.pop(key, None) is not None:  # so that it comes last
            return True
        self._offered += 1
        if self._offered % _ONE_OF:
            return False
        del known[next(iter(known))]  # the oldest
        return True

    def _came_before(self, cut: bytes) -> bool:
        mark = hash(cut)
        if mark in self._seen:
            return True
        if len(self._seen) >= _SEEN_MAX:
            self._seen.clear()
        self._seen.add(mark)
        return False

    def find(
        self, raw: bytes, whoever: Client, now: float
    ) -> tuple[Known, dict[bytes, bytes]] | None:
        """Return what is known of this head from this peer, and its volatile values, if it may be
        used at the Unix time `now`.
        """
        cut, values = self._volatile.cut(raw)
        known = self._known.get((whoever.address, whoever.scheme, len(raw), cut, *values))
        if known is None:
            return None
        credential, traced = known.permit.credential, known.trace_mark
        if credential is not None and self._recall(credential, now) is not known.permit.session:
            return None
        # By a trace that is continued a tracestate passes, by another one it does not.
        if traced is not None and trace.is_continued(values[traced]) != known.x.trace_kept:
            return None
        return known, values

    def close(self) -> None:
        """Forget every head, and learn no more: exchanges of this generation may last for hours,
        and hold it.
        """
        self._closed = True
        self._known.clear()
        self._seen.clear()

    def attempt(self, known: Known) -> Attempt | None:
        """Return an attempt on a pooled connection of the endpoint whose turn it is, and count the
        request in its limits; None, and nothing is counted, when these do not admit it or no
        connection is young enough.

        What balancing looks at, user and address, is part of what is known of the head.
        """
        route, x = known.permit.route, known.x
        pool = self._pools[route.upstream]
        uses = known.uses
        now = int(monotonic() * 1_000_000) if uses else 0
        if uses and any(take_all(uses, now)):
            return None
        age = max_idle(x.head.method, pool.pool_idle, replayable=True)
        taken = pool.take_idle(x, age)
        if taken is None:
            give_back(uses, now)
            return None
        if known.permit.credential is not None:
            self._metrics.session_cache_hits += 1
        return Attempt(*taken, route.timeouts)


def _is_plain(head: RequestHead) -> bool:
    """Whether the head is all of its request, and asks for nothing of the connection."""
    connection = head.noted.get(b"connection", b"keep-alive")
    return (
        head.minor == 1
        and connection.lower() == b"keep-alive"
        and head.repeated is None
        and _ASKS_MORE.isdisjoint(head.noted)
    )


def _are_single(head: RequestHead, values: dict[bytes, bytes]) -> bool:
    """Whether each mark is that of one field: of two, `b3:1` and `b3: 2`, it may have found the
    second, and what is written upstream has two lines that look like it.
    """
    names = [name for name, _ in head.fields]
    return all(names.count(mark[2:-2]) == 1 for mark in values)
