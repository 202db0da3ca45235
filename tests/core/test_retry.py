from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.core.retry import (
    FLOOR,
    WINDOW,
    RetryBudget,
    is_free,
    is_its_own,
    max_idle,
    may_retry,
)

REPEATABLE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY", "PROPFIND", "REPORT", "SEARCH"]
ONCE = ["POST", "PATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH"]

ALWAYS = [errors.UpstreamUnreachable, errors.ConnectTimeout]
ELSEWHERE = [errors.ConnectionCut, errors.AnswerLate]
NEVER = [
    errors.UpstreamTimeout,
    errors.UpstreamProtocol,
    errors.NoEndpoint,
    errors.SessionStoreDown,
    errors.Draining,
    errors.Internal,
]


def again(failure: errors.Failure, method: str = "GET", **changes: int) -> bool:
    settings = {"attempts": 1, "limit": 2, "replayable": True, "another": False} | changes
    return may_retry(
        failure,
        method,
        attempts=settings["attempts"],
        limit=settings["limit"],
        replayable=bool(settings["replayable"]),
        another=bool(settings["another"]),
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


@pytest.mark.parametrize("failure", ELSEWHERE)
def test_who_never_answered_is_tried_again_elsewhere_where_repeating_is_harmless(
    failure: type[errors.Failure],
) -> None:
    assert all(again(failure(), method, another=True) for method in REPEATABLE)
    assert not any(again(failure(), method, another=False) for method in REPEATABLE)
    assert not any(again(failure(), method, another=True) for method in ONCE)


@pytest.mark.parametrize("method", REPEATABLE + ONCE)
def test_who_has_no_room_leaves_the_request_to_others(method: str) -> None:
    assert again(errors.Overloaded(), method, another=True)
    assert not again(errors.Overloaded(), method, another=False)


@pytest.mark.parametrize("another", [True, False])
@pytest.mark.parametrize("failure", NEVER)
def test_other_failures_are_final(failure: type[errors.Failure], another: bool) -> None:
    assert not again(failure(), another=another)


@pytest.mark.parametrize(
    ("failure", "free"),
    [
        (errors.UpstreamUnreachable, True),
        (errors.Overloaded, True),
        (errors.ConnectTimeout, False),
        (errors.ConnectionStale, False),
        (errors.ConnectionCut, False),
        (errors.AnswerLate, False),
    ],
)
def test_what_was_not_sent_and_goes_elsewhere_is_free(
    failure: type[errors.Failure], free: bool
) -> None:
    assert is_free(failure(), another=True) is free
    assert not is_free(failure(), another=False)


@pytest.mark.parametrize(
    ("failure", "blamed"),
    [
        (errors.UpstreamUnreachable("x"), True),
        (errors.ConnectTimeout("x"), True),
        (errors.AnswerLate("x"), True),
        (errors.UpstreamTimeout("x"), True),
        (errors.UpstreamProtocol("x"), True),
        (errors.ConnectionCut("x"), True),
        (errors.ConnectionStale("x"), False),
        (errors.ConnectionGone("x"), False),
        (errors.Overloaded("x"), False),
        (errors.NoEndpoint("x"), False),
        (errors.BodyTooLarge("x"), False),
        (ConnectionResetError(), False),
        (asyncio.CancelledError(), False),
    ],
    ids=repr,
)
def test_whose_fault_it_is(failure: BaseException, blamed: bool) -> None:
    assert is_its_own(failure) is blamed


EVENTS = st.lists(st.sampled_from(["request", "retry", "second"]), max_size=400)


@given(EVENTS, st.integers(0, 100))
def test_the_budget_is_never_passed(events: list[str], percent: int) -> None:
    """In no ten seconds are there more retries than the percentage of their requests, and ten."""
    budget = RetryBudget(percent)
    now, requests = 0, 0
    sent: list[int] = []
    again: list[int] = []
    for event in events:
        if event == "second":
            now += 1
            budget.roll(requests)
        elif event == "request":
            requests += 1
            sent.append(now)
        elif budget.take(requests):
            again.append(now)
            since = now - WINDOW + 1
            of_late = [sum(at >= since for at in times) for times in (sent, again)]
            assert of_late[1] <= FLOOR + of_late[0] * percent / 100
    assert budget.retries == len(again)


def test_the_budget_allows_what_it_says() -> None:
    budget = RetryBudget(20)
    assert sum(budget.take(0) for _ in range(50)) == FLOOR
    assert sum(budget.take(100) for _ in range(50)) == 20
    for _ in range(WINDOW):
        budget.roll(100)
    assert sum(budget.take(100) for _ in range(50)) == FLOOR
    assert sum(budget.take(1100) for _ in range(500)) == 200


def test_a_request_of_an_earlier_generation_is_tried_again_like_others() -> None:
    budget = RetryBudget(20)
    for second in range(60):
        budget.roll(second * 1000)
    assert sum(budget.take(3000) for _ in range(5000)) == FLOOR + 1800  # 20 % of 9,000


def test_a_budget_of_nothing_leaves_the_floor() -> None:
    budget = RetryBudget(0)
    assert sum(budget.take(10_000) for _ in range(50)) == FLOOR


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
    assert max_idle(method, 5.0, replayable=True) == 5.0
    assert max_idle(method, 0.5, replayable=True) == 0.5


@pytest.mark.parametrize("method", ONCE)
def test_one_that_must_not_be_repeated_takes_only_one_of_the_last_second(method: str) -> None:
    assert max_idle(method, 5.0, replayable=True) == 1.0
    assert max_idle(method, 0.5, replayable=True) == 0.5


@pytest.mark.parametrize("method", REPEATABLE)
def test_so_does_one_whose_body_is_still_on_its_way(method: str) -> None:
    assert max_idle(method, 5.0, replayable=False) == 1.0
