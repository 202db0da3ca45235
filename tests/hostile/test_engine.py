"""The engine: what becomes of each case, and that nothing passes unless it was really looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.hostile.arena import Place
from tests.hostile.cases import Case, load, load_left_out
from tests.hostile.engine import Fate, Verdict, judge, plan, profile_of, runs
from tests.hostile.impostors import impostor, refusal
from tests.hostile.outcome import NotAsExpected, Outcome
from tests.hostile.profiles import FENCE, PROFILES
from tests.hostile.recipes import NEEDS_OUR_PROCESS, PLACES, RECIPES
from tests.hostile.scripts import Scripts
from tests.hostile.signed import KINDS, SIGNED
from tests.hostile.tokens import AUTHJS, Kind, tokens_of
from tests.support.upstream import StubUpstream

CASES = load()[1]
LEFT_OUT = load_left_out()
BY_ID = {case.id: case for case in CASES}


def fates(**options: object) -> dict[str, Fate]:
    return {e.case.id: e.fate for e in plan(CASES, LEFT_OUT, **options)}  # type: ignore[arg-type]


def test_every_case_is_run_or_left_out_and_none_is_both() -> None:
    ran = {case.id for case, _ in runs(plan(CASES, LEFT_OUT))}
    assert ran & set(LEFT_OUT) == set()
    assert ran | set(LEFT_OUT) == set(BY_ID)


def test_what_is_left_out_could_not_be_configured() -> None:
    assert [case_id for case_id in LEFT_OUT if BY_ID[case_id].profile in PROFILES] == []


def test_what_is_left_out_has_no_recipe() -> None:
    assert set(LEFT_OUT) & (set(RECIPES) | set(PLACES) | set(NEEDS_OUR_PROCESS)) == set()


def test_reasons_to_start_the_gateway_ourselves_are_about_cases() -> None:
    assert set(NEEDS_OUR_PROCESS) <= set(BY_ID)


def test_a_target_is_asked_for_its_profiles_only() -> None:
    found = fates(profiles=("base", "csrf"), our_process=False)
    ran = {BY_ID[case_id] for case_id, fate in found.items() if fate is Fate.RUN}
    assert {profile_of(case) for case in ran} == {"base", "csrf"}
    assert found["PA-41"] is Fate.OTHER_PROFILE
    assert found["DS-02"] is Fate.OTHER_PROFILE  # of profile base, run with short deadlines
    assert found["LK-07"] is Fate.OUR_PROCESS
    assert found["CS-07"] is Fate.LEFT_OUT


def test_a_signed_session_is_not_asked_what_it_cannot_say() -> None:
    found = fates(kind=SIGNED, our_process=False)
    unsaid = {case_id for case_id, fate in found.items() if fate is Fate.NOT_APPLICABLE}
    assert unsaid == {
        *("CK-14", "CK-15", "TK-03", "TK-04", "TK-05", "TK-07", "TK-10", "TK-18", "TK-28"),
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_recipe_of_a_kind_is_one_that_a_case_or_a_control_needs(kind: Kind) -> None:
    needed = {name for case in CASES for name in tokens_of(case.placeholders)}
    assert set(kind.recipes) <= needed | {"USER_SECURE", "USER_V4", "DB_DELETED"}


def test_every_variant_is_run() -> None:
    counts = Counter(case.id for case, _ in runs(plan(CASES, LEFT_OUT)))
    assert counts["TK-16"] == 5
    assert counts["FR-01"] == 1


async def judged(case: Case, reply: bytes = b"") -> Verdict:
    """Return the verdict at a place that lets the fence through and answers `reply` else."""
    async with StubUpstream() as upstream, impostor(reply, upstream.port) as port:
        return await judge(Place(upstream, Scripts(upstream), port, patience=0.2), case)


async def test_a_refusal_passes_a_case_that_asks_for_it() -> None:
    verdict = await judged(BY_ID["FR-01"], refusal(400))
    assert verdict.problems == ()
    assert verdict.happened == "400; upstream: nothing"


async def test_a_target_that_is_not_there_has_not_closed_the_connection() -> None:
    async with StubUpstream() as upstream:
        async with StubUpstream() as gone:
            port = gone.port
        place = Place(upstream, Scripts(upstream), port, patience=0.2)
        verdict = await judge(place, replace(BY_ID["FR-01"], may_close=True))
    assert len(verdict.problems) == 1
    assert verdict.problems[0].startswith("the connection failed: ")


async def test_a_target_that_closes_everything_fails_by_the_fence() -> None:
    case = replace(BY_ID["FR-01"], may_close=True, answer_asserts=())
    assert (await judged(case)).problems == ()
    async with StubUpstream() as upstream, impostor(b"", upstream.port, passes=()) as port:
        verdict = await judge(Place(upstream, Scripts(upstream), port, patience=0.2), case)
    assert verdict.problems == ("the gateway does not serve others any more",)


BREAKING = {
    "problem": (NotAsExpected("not so"), "not so"),
    "time": (TimeoutError(), "waited in vain for what should happen next"),
    "connection": (ConnectionResetError("gone"), "the connection failed: gone"),
    "answer": (ValueError("odd"), "what came cannot be judged: ValueError: odd"),
}


@pytest.mark.parametrize("name", BREAKING)
async def test_a_recipe_that_breaks_off_is_a_failure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, problem = BREAKING[name]

    async def breaks(_place: Place, _case: Case, _variant: str) -> Outcome:
        raise error

    monkeypatch.setitem(RECIPES, "FR-01", breaks)
    verdict = await judged(BY_ID["FR-01"])
    assert verdict.problems == (problem,)


@pytest.mark.parametrize(("times", "tries", "passes"), [([900, 1], 2, True), ([900] * 3, 3, False)])
async def test_the_clock_of_another_target_is_read_up_to_three_times(
    times: list[int], tries: int, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    async def slow(_place: Place, _case: Case, _variant: str) -> Outcome:
        taken.append(times[len(taken)])
        return Outcome(milliseconds=taken[-1])

    monkeypatch.setitem(RECIPES, "FR-01", slow)
    case = replace(BY_ID["FR-01"], may_close=True, answer_asserts=(), max_ms=100)
    verdict = await judged(case)
    assert (len(taken), not verdict.problems) == (tries, passes)


def test_the_fence_is_no_path_of_a_case() -> None:
    assert [case.id for case in CASES if FENCE in case.templates] == []


def test_kinds_are_told_apart() -> None:
    assert KINDS == {"authjs": AUTHJS, "hs256": SIGNED}
