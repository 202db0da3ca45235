"""proxy/core/health.py: checks and failures, and what becomes of an endpoint by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import EjectConfig, HealthConfig
from proxy.core.health import EJECTION_MAX, Standing, may_eject, too_many_out

HEALTH = HealthConfig(path="/healthz", rise=2, fall=3)
EJECT = EjectConfig(failures=3, window=10.0, base=10.0)


def standing(health: HealthConfig | None = None, eject: EjectConfig | None = None) -> Standing:
    return Standing(health, eject)


def checked(results: str, rules: HealthConfig = HEALTH) -> list[str]:
    """Return the state after each check; + is a good one."""
    it = standing(rules)
    states: list[str] = []
    for at, result in enumerate(results):
        it.check("" if result == "+" else "refused", float(at))
        states.append(it.state)
    return states


@pytest.mark.parametrize(
    ("results", "last"),
    [
        ("", "up"),
        ("-", "down"),  # the first decides alone
        ("+", "up"),
        ("+--", "up"),
        ("+---", "down"),
        ("+--+--", "up"),  # in a row
        ("-+", "down"),
        ("-++", "up"),
        ("-+-+", "down"),
        ("+---++", "up"),
        ("+---++--", "up"),
    ],
)
def test_rise_and_fall(results: str, last: str) -> None:
    assert (["up", *checked(results)])[-1] == last


@given(st.text("+-", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_a_change_needs_that_many_in_a_row(results: str, rise: int, fall: int) -> None:
    states = ["up", *checked(results, HealthConfig(path="/", rise=rise, fall=fall))]
    for at in range(2, len(states)):
        if states[at] != states[at - 1]:
            needed, result = (rise, "+") if states[at] == "up" else (fall, "-")
            assert results[:at].endswith(result * needed)


def test_a_change_is_told_once_and_with_its_reason() -> None:
    it = standing(HEALTH)
    assert [it.check("refused", 1.0), it.check("refused", 2.0)] == [True, False]
    assert (it.usable, it.reason) == (False, "refused")
    assert [it.check("", 3.0), it.check("", 4.0)] == [False, True]
    assert (it.usable, it.reason, it.risen) == (True, "", 4.0)


def test_the_reason_is_that_of_the_last_check() -> None:
    it = standing(HEALTH)
    for at, (problem, reason) in enumerate(
        [("refused", "refused"), ("status 503", "status 503"), ("", "status 503"), ("", "")]
    ):
        it.check(problem, float(at))
        assert it.reason == reason


def test_checks_without_a_rule_change_nothing() -> None:
    it = standing()
    assert not it.check("refused", 1.0)
    assert it.usable


def failed(times: list[float], rules: EjectConfig = EJECT) -> list[bool]:
    it = standing(None, rules)
    return [it.fail(at) for at in times]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([1, 2], [False, False]),
        ([1, 2, 3], [False, False, True]),
        ([1, 2, 11], [False, False, True]),
        ([1, 2, 12], [False, False, False]),
        ([1, 8, 12, 13], [False, False, False, True]),
    ],
)
def test_that_many_failures_within_the_window_are_too_many(
    times: list[float], said: list[bool]
) -> None:
    assert failed(times) == said


def test_a_request_that_goes_well_wipes_out_failures() -> None:
    it = standing(None, EJECT)
    seen = []
    for at in (1.0, 2.0):
        it.fail(at)
        seen.append(it.failing)
    it.succeed()
    seen.append(it.failing)
    assert seen == [True, True, False]
    assert not it.fail(3.0)


def test_without_a_rule_nobody_is_too_bad() -> None:
    it = standing()
    assert not any(it.fail(float(at)) for at in range(100))
    assert not it.failing
    with pytest.raises(RuntimeError):
        it.eject("refused", 1.0)


def test_an_ejection_ends_by_itself() -> None:
    it = standing(None, EJECT)
    assert it.eject("refused", 100.0) == 10.0
    assert (it.state, it.usable, it.reason) == ("ejected", False, "refused")
    assert not it.restore(109.9)
    assert it.restore(110.0)
    assert (it.usable, it.reason, it.risen) == (True, "", 110.0)
    assert not it.restore(111.0)


def test_what_fails_during_an_ejection_does_not_count_behind_it() -> None:
    it = standing(None, EJECT)
    it.eject("refused", 0.0)
    assert [it.fail(at) for at in (1.0, 2.0, 3.0, 4.0)] == [False] * 4
    it.restore(10.0)
    assert not it.failing
    assert [it.fail(at) for at in (10.1, 10.2, 10.3)] == [False, False, True]


def test_each_ejection_in_a_row_is_longer_and_time_forgives() -> None:
    it = standing(None, EJECT)
    now = 0.0
    lengths = []
    for well in (0.0, 0.0, 0.0, 25.0, 1000.0):
        lengths.append(it.eject("refused", now))
        now += lengths[-1]
        it.restore(now)
        now += well
    lengths.append(it.eject("refused", now))
    assert lengths == [10.0, 20.0, 30.0, 40.0, 30.0, 10.0]


@given(st.lists(st.floats(0, 400), max_size=80), st.floats(0.1, 600))
def test_no_ejection_is_longer_than_the_most(wells: list[float], base: float) -> None:
    it = standing(None, EjectConfig(base=base))
    now = 0.0
    for well in wells:
        seconds = it.eject("refused", now)
        assert base <= seconds <= max(base, EJECTION_MAX)
        now += seconds
        assert it.restore(now)
        now += well


def test_checks_and_ejections_both_must_be_over() -> None:
    it = standing(HEALTH, EJECT)
    it.check("status 503", 0.0)
    it.eject("refused", 0.0)
    assert (it.state, it.reason) == ("down", "status 503")
    it.check("", 1.0)
    it.check("", 2.0)
    assert (it.state, it.reason) == ("ejected", "refused")
    it.restore(10.0)
    assert it.usable


def test_who_was_never_away_is_not_slow() -> None:
    assert standing().pace(60.0, 5.0) == 1.0


def test_who_comes_back_gets_more_and_more() -> None:
    it = standing(None, EJECT)
    it.eject("refused", 0.0)
    it.restore(10.0)
    paces = [it.pace(60.0, at) for at in (10.0, 13.0, 25.0, 40.0, 69.0, 70.0, 99.0)]
    assert paces == pytest.approx([0.1, 0.1, 0.25, 0.5, 59 / 60, 1.0, 1.0])
    assert it.pace(None, 10.0) == 1.0


@given(st.integers(1, 40), st.integers(1, 100), st.lists(st.booleans(), max_size=80))
def test_the_percentage_is_never_exceeded(total: int, percent: int, asks: list[bool]) -> None:
    ejected = 0
    for eject in asks:
        if eject and may_eject(ejected, total, percent):
            ejected += 1
        elif ejected and not eject:
            ejected -= 1
        assert ejected * 100 <= total * percent


@pytest.mark.parametrize(
    ("ejected", "out", "total", "percent", "too_many"),
    [
        (0, 3, 3, 50, False),  # nobody can be let in
        (1, 1, 3, 50, False),
        (1, 2, 3, 50, False),  # the other is down by checks, and one is left
        (1, 3, 3, 50, True),  # nobody is left
        (1, 1, 1, 50, True),  # the others are gone
        (2, 2, 3, 50, True),
        (2, 2, 2, 100, False),  # as it was asked for
        (1, 2, 2, 100, False),
    ],
)
def test_when_others_go_some_are_let_in(
    ejected: int, out: int, total: int, percent: int, too_many: bool
) -> None:
    assert too_many_out(ejected, out, total, percent) is too_many


@pytest.mark.parametrize(
    ("total", "percent", "most"), [(1, 50, 0), (2, 50, 1), (3, 50, 1), (4, 50, 2), (1, 100, 1)]
)
def test_how_many_may_be_out(total: int, percent: int, most: int) -> None:
    assert [may_eject(out, total, percent) for out in range(total)] == [
        out < most for out in range(total)
    ]


@pytest.mark.parametrize(
    ("rules", "status", "errs"),
    [
        (None, 503, False),
        (EJECT, 503, False),
        (EjectConfig(server_errors=True), 499, False),
        (EjectConfig(server_errors=True), 500, True),
        (EjectConfig(server_errors=True), 599, True),
    ],
)
def test_which_statuses_are_failures(rules: EjectConfig | None, status: int, errs: bool) -> None:
    assert standing(None, rules).errs(status) is errs


def test_what_is_known_belongs_to_its_rules() -> None:
    it = standing(HEALTH, EJECT)
    assert it.is_of(HealthConfig(path="/healthz", rise=2, fall=3), EJECT)
    assert not it.is_of(HealthConfig(path="/other", rise=2, fall=3), EJECT)
    assert not it.is_of(HEALTH, None)
