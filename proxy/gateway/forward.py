"""Forwarding: a permitted request goes to an endpoint, and its answer back to the client.

Once the answer's head has been written, an error cannot become a response any more: the client's
connection is aborted, so that a cut answer is not taken for a whole one.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.answer import answer_head, interim_head, is_stream
from proxy.core.retry import is_free, is_its_own, may_retry
from proxy.errors import Failure
from proxy.gateway.attempt import LAST_CHUNK, Attempt, chunk
from proxy.gateway.respond import date_line
from proxy.gateway.tunnel import check_accepted, run_tunnel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.answer import Answer, AnswerHead
    from proxy.core.decision import Permit
    from proxy.core.exchange import Exchange
    from proxy.core.headers import ResponseFilter
    from proxy.gateway.body import RequestBody
    from proxy.gateway.downstream import Downstream
    from proxy.gateway.snapshot import Snapshot
    from proxy.upstream.endpoint import Endpoint
    from proxy.upstream.pool import Pool


async def forward(
    x: Exchange,
    permit: Permit,
    snapshot: Snapshot,
    client: Downstream,
    body: RequestBody,
    begun: Attempt | None = None,
) -> bool:
    """Forward the request of `x`; return whether the client's connection can carry another one.

    `begun` is a first attempt whose request has been sent. Raises every kind of Failure, and the
    refusals that only show while a body is read.
    """
    route = permit.route
    x.upstream = route.upstream
    body.limit(route.body_limit, route.body_idle, route.body_rate)
    x.upstream_started = x.upstream_started or monotonic()
    try:
        attempt, answer = await _answered(x, permit, snapshot, client, body, begun)
        try:
            if answer.status == 101:
                check_accepted(answer, x.head.noted[b"sec-websocket-key"])
                attempt.went_well()  # it may last for hours, and end in any way
                attempt.set_apart()
                rules = snapshot.rules.response_filter
                await run_tunnel(x, permit, answer, rules, client, attempt.connection)
                attempt.abort()  # it has ended, and counts no more
                return False
            keep = await _relay(x, answer, snapshot, client, body, attempt)
        except BaseException as failure:
            attempt.abort()
            if not is_its_own(failure):  # the client has left, or sends what is no body
                attempt.went_well()
            _blame(attempt.endpoint, failure)
            raise
        attempt.finish()
        return keep
    finally:
        x.bytes_in += body.received  # a tunnel has counted its own
        x.upstream_seconds = monotonic() - x.upstream_started


async def _answered(
    x: Exchange,
    permit: Permit,
    snapshot: Snapshot,
    client: Downstream,
    body: RequestBody,
    attempt: Attempt | None,
) -> tuple[Attempt, Answer]:
    """Send the request to one endpoint after the other until one answers; return its final head.

    Interim answers (103) go to the client on the way.
    """
    pool = snapshot.pools[permit.route.upstream]
    whole = body.whole()
    if whole is None:
        whole = await body.beginning()
    tried: list[Endpoint] = [] if attempt is None else [attempt.endpoint]
    while True:
        if attempt is None:
            tried.append(endpoint := pool.pick(x, tried))
            x.endpoint = endpoint.name
            x.attempts += 1
        try:
            if attempt is None:
                attempt = await Attempt.connect(
                    x, permit, pool, tried[-1], replayable=whole is not None
                )
                attempt.send(x, permit, pool, snapshot.rules, body, whole)
            while (answer := await attempt.connection.answer()).status == 103:
                client.write(interim_head(x, answer))
            return attempt, answer
        except BaseException as failure:
            if attempt is not None:
                attempt.abort()
            _blame(tried[-1], failure)
            replayable = whole is not None or attempt is None
            if not isinstance(failure, Failure) or not _may_go_on(
                x, permit, pool, failure, tried, replayable=replayable
            ):
                raise
            attempt = None


def _may_go_on(
    x: Exchange,
    permit: Permit,
    pool: Pool,
    failure: Failure,
    tried: Sequence[Endpoint],
    *,
    replayable: bool,
) -> bool:
    """Whether the request may be sent once more: by what it is, and by the budget."""
    another = bool(pool.untried(tried))
    if not may_retry(
        failure,
        x.head.method,
        attempts=x.attempts,
        limit=permit.route.attempts,
        replayable=replayable,
        another=another,
    ):
        return False
    if is_free(failure, another=another) or pool.budget.take(pool.requests):
        return True
    failure.reason += "; not tried again, as retry.budget_percent is used up"
    return False


def _blame(endpoint: Endpoint, failure: BaseException) -> None:
    if is_its_own(failure):
        endpoint.failed(failure.reason)


async def _relay(
    x: Exchange,
    answer: Answer,
    snapshot: Snapshot,
    client: Downstream,
    body: RequestBody,
    attempt: Attempt,
) -> bool:
    """Pass the answer on, each piece as it comes; return whether the client's connection stays
    open.
    """
    # An upload that failed with its connection is over, and the rest of the body still comes.
    close = client.closes or attempt.uploading or not body.complete
    head = relay_first(x, answer, snapshot.rules.response_filter, client, attempt, close=close)
    if attempt.connection.exhausted:
        return not head.close
    if is_stream(answer):
        attempt.set_apart()
    frame = chunk if head.chunked else bytes
    while True:
        if client.stalled and not attempt.connection.exhausted:
            with attempt.connection.waiting(client.give_way, hold=True):
                await client.drain()
        data = await attempt.read()
        if not data:
            break
        x.bytes_out += len(data)
        client.write(frame(data))
        del data  # while a client is behind, what it has still to take stands in one place
    if head.chunked:
        client.write(LAST_CHUNK)
    return not head.close


def relay_first(
    x: Exchange,
    answer: Answer,
    rules: ResponseFilter,
    client: Downstream,
    attempt: Attempt,
    *,
    close: bool,
) -> AnswerHead:
    """Pass on the head of the answer, with what has come of its body; return what was made of it.

    What has come together leaves together, in one write. An answer before the end of the request
    ends the connection, on both sides: what follows in it is the rest of a body that nobody wants.
    """
    head = answer_head(x, answer, rules, close=close, date=_date)
    body = attempt.connection.take()
    x.status = answer.status
    if answer.status >= 500:
        attempt.judge(answer.status)
    x.bytes_out = len(body)
    if head.chunked:
        end = LAST_CHUNK if attempt.connection.exhausted else b""
        body = (chunk(body) if body else b"") + end
    client.head_sent = True
    client.write(head.data + body)
    return head


def _date(x: Exchange) -> bytes:
    """Return the line `Date` for an answer to `x` that has come just now."""
    return date_line(x.now + monotonic() - x.started)
