from __future__ import annotations

import pytest

from proxy import errors
from proxy.core.retry import max_idle, may_retry

REPEATABLE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY", "PROPFIND", "REPORT", "SEARCH"]
ONCE = ["POST", "PATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH"]

ALWAYS = [errors.UpstreamUnreachable, errors.ConnectTimeout]
NEVER = [
    errors.UpstreamTimeout,
    errors.UpstreamProtocol,
    errors.Overloaded,
    errors.NoEndpoint,
    errors.SessionStoreDown,
    errors.Draining,
    errors.Internal,
]


def again(failure: errors.Failure, method: str = "GET", **changes: int) -> bool:
    settings = {"attempts": 1, "limit": 2, "replayable": True} | changes
    return may_retry(
        failure,
        method,
        attempts=settings["attempts"],
        limit=settings["limit"],
        replayable=bool(settings["replayable"]),
    )


@pytest.mark.parametrize("method", REPEATABLE + ONCE)
@pytest.mark.parametrize("failure", ALWAYS)
def test_nothing_was_sent_where_no_connection_came_about(
    failure: type[errors.Failure], method: str
) -> None:
    assert again(failure(), method)


@pytest.mark.parametrize("method", REPEATABLE)
def test_a_stale_connection_is_tried_again_where_repeating_is_harmless(method: str) -> None:
    assert again(errors.ConnectionStale(), method)


@pytest.mark.parametrize("method", [*ONCE, "get", "", "OTHER"])
def test_a_stale_connection_is_not_tried_again_where_it_may_have_acted(method: str) -> None:
    assert not again(errors.ConnectionStale(), method)


@pytest.mark.parametrize("failure", NEVER)
def test_other_failures_are_final(failure: type[errors.Failure]) -> None:
    assert not again(failure())


@pytest.mark.parametrize("failure", [*ALWAYS, errors.ConnectionStale])
def test_there_are_no_more_tries_than_allowed_and_none_without_the_body(
    failure: type[errors.Failure],
) -> None:
    assert again(failure(), attempts=2, limit=3)
    assert not again(failure(), attempts=2, limit=2)
    assert not again(failure(), attempts=3, limit=2)
    assert not again(failure(), attempts=1, limit=1)
    assert not again(failure(), replayable=False)


@pytest.mark.parametrize("method", REPEATABLE)
def test_a_harmless_request_takes_any_pooled_connection(method: str) -> None:
    assert max_idle(method, 5.0) == 5.0
    assert max_idle(method, 0.5) == 0.5


@pytest.mark.parametrize("method", ONCE)
def test_one_that_must_not_be_repeated_takes_only_one_of_the_last_second(method: str) -> None:
    assert max_idle(method, 5.0) == 1.0
    assert max_idle(method, 0.5) == 0.5
