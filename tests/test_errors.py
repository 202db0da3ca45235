"""The errors: one code each, and nothing for clients but constants."""

from __future__ import annotations

import re

import pytest

from proxy import errors


def every(base: type[errors.ProxyError]) -> list[type[errors.ProxyError]]:
    """All errors that are raised, `base` and its kinds without a code of their own left out."""
    below = [found for kind in base.__subclasses__() for found in every(kind)]
    return [base, *below] if "code" in vars(base) else below


ERRORS = every(errors.ProxyError)

# The contract with clients: they switch on these.
CODES = {
    400: {"bad_request", "bad_target", "bad_host", "ambiguous_path", "bad_cookie"},
    401: {
        "session_missing",
        "session_invalid",
        "session_expired",
        "session_ambiguous",
        "session_revoked",
    },
    403: {"forbidden", "origin_refused"},
    404: {"no_route"},
    405: {"method_refused"},
    408: {"request_timeout"},
    413: {"body_too_large"},
    414: {"target_too_long"},
    417: {"expectation_failed"},
    429: {"rate_limited"},
    431: {"head_too_large"},
    500: {"internal"},
    501: {"method_unknown", "coding_unknown"},
    502: {"upstream_unreachable", "upstream_protocol"},
    503: {"session_store_down", "limit_store_down", "no_endpoint", "overloaded", "draining"},
    504: {"upstream_timeout"},
}


def test_codes_are_those_that_clients_were_promised() -> None:
    found: dict[int, set[str]] = {}
    for error in ERRORS:
        found.setdefault(error.status, set()).add(error.code)
    assert found == CODES


def test_no_two_errors_share_a_code() -> None:
    assert len({error.code for error in ERRORS}) == len(ERRORS)


def test_the_drawing_at_the_top_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+) +(?:\d+ +)?([a-z_]+)$", errors.__doc__ or "", re.MULTILINE)
    assert set(drawn) == {(error.__name__, error.code) for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_what_a_client_reads_is_a_constant(error: type[errors.ProxyError]) -> None:
    raised = error("the reason, for the log")
    assert raised.detail == error.detail
    assert "reason" not in raised.detail
    assert raised.title
    assert raised.detail.endswith(".")


def test_the_log_gets_code_and_reason() -> None:
    assert str(errors.NoRoute("no route for /x")) == "no_route: no route for /x"
    assert str(errors.NoRoute()) == "no_route"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_who_may_come_again_is_told_when(error: type[errors.ProxyError]) -> None:
    """503 and 429 carry Retry-After (RFC 9110 section 10.2.3); for the others it means nothing."""
    assert (error.retry_after is not None) == (error.status in (429, 503))


def test_only_a_missing_session_has_no_rfc_6750_error() -> None:
    unauthorized = [error for error in ERRORS if issubclass(error, errors.Unauthorized)]
    without = {error for error in unauthorized if error.error is None}
    assert without == {errors.SessionMissing}
    assert {error.error for error in unauthorized} == {None, "invalid_token"}


def test_refusals_are_the_clients_and_failures_are_not() -> None:
    for error in ERRORS:
        assert (error.source == "client") == issubclass(error, errors.Refusal)
        assert (error.status < 500) == issubclass(error, errors.Refusal) or error.status == 501


def test_a_refused_method_names_what_is_allowed() -> None:
    assert errors.MethodRefused(allow=("GET", "HEAD")).allow == ("GET", "HEAD")


def test_a_settled_error_holds_nothing_of_the_way_to_it() -> None:
    cause = ValueError("cause")
    with pytest.raises(errors.BadRequest) as caught:
        raise errors.BadRequest("why") from cause
    error = caught.value
    error.__context__ = cause
    error.settle()
    held = [error.__traceback__, error.__context__, error.__cause__]
    assert held == [None] * 3
    assert error.reason == "why"
