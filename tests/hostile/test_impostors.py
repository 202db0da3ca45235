"""What the cases and the runner are worth: gateways that are none do not pass."""

from __future__ import annotations

import pytest

from tests.hostile import commands
from tests.hostile.arena import Place
from tests.hostile.cases import load, load_left_out
from tests.hostile.commands import run_target
from tests.hostile.engine import Fate, judge, plan
from tests.hostile.impostors import IMPOSTORS, Passing, impostor
from tests.hostile.profiles import LOGINS, PROFILES
from tests.hostile.recipes import NEEDS_OUR_PROCESS, RECIPES
from tests.hostile.report import Report
from tests.hostile.scripts import Scripts
from tests.hostile.target import Address, CannotRun, Target
from tests.hostile.tokens import variants_of
from tests.support.upstream import StubUpstream

PLANNED = plan(load()[1], load_left_out())

UNSEEN = set(RECIPES) & set(NEEDS_OUR_PROCESS)
"""They look into the gateway's process, and an impostor has none."""

PATIENCE = 0.1
"""Seconds: an impostor answers at once. Where it is too slow all the same, more cases fail."""

REFUSING = [name for name, reply in IMPOSTORS.items() if isinstance(reply, bytes)]


async def passed_by(reply: bytes | Passing) -> set[str]:
    """Return the cases that pass against an impostor, the fence let through."""
    async with StubUpstream() as upstream, impostor(reply, upstream.port) as port:
        place = Place(upstream, Scripts(upstream), port, pace=0.001, patience=PATIENCE)
        passed = set()
        for case in (entry.case for entry in PLANNED if entry.fate is Fate.RUN):
            if case.id in UNSEEN:
                continue
            variant = variants_of(case.placeholders)[0]
            if not (await judge(place, case, variant)).problems:
                passed.add(case.id)
        return passed


@pytest.mark.slow
async def test_every_case_fails_against_an_impostor_and_none_passes_all() -> None:
    names = ("wide-open", "always-400", "always-401", "always-closing")
    passed = {name: await passed_by(IMPOSTORS[name]) for name in names}
    assert set.intersection(*passed.values()) == set()
    assert max(map(len, passed.values())) < 150
    assert len(passed["always-closing"]) < 60


def test_few_cases_are_out_of_sight() -> None:
    assert {"DB-07", "DB-10", "EP-05", "LK-07", "LK-08"} == UNSEEN


async def report_of(name: str, passes: tuple[str, ...]) -> Report:
    """Return what the command would say of an impostor. Raises CannotRun."""
    async with StubUpstream() as free:
        upstream = Address("127.0.0.1", free.port)
    profiles = tuple(set(PROFILES) - {"hasty", *LOGINS})
    async with impostor(IMPOSTORS[name], upstream.port, passes=passes) as port:
        target = Target(Address("127.0.0.1", port), upstream, profiles, patience=PATIENCE)
        return await run_target(target)


@pytest.mark.parametrize("name", REFUSING)
async def test_target_that_refuses_everything_cannot_be_run(name: str) -> None:
    with pytest.raises(CannotRun, match=r"must forward|does not answer"):
        await report_of(name, passes=())


@pytest.mark.parametrize("name", REFUSING)
async def test_target_that_refuses_good_sessions_cannot_be_run(name: str) -> None:
    with pytest.raises(CannotRun, match="does not take a good authjs session"):
        await report_of(name, passes=("/public/",))


async def test_target_that_tells_nothing_of_the_user_cannot_be_run() -> None:
    with pytest.raises(CannotRun, match=r"was told X-User-Id \[\], not u-1"):
        await report_of("wide-open", passes=())


async def test_target_that_lets_everybody_in_fails() -> None:
    report = await report_of("gullible", passes=())
    failed = {verdict.case.id for verdict in report.failed}
    assert not report.good
    assert report.checks == {"minted": [], "sealed-cbc": [], "sealed-gcm": []}
    assert len(failed) > 100
    assert {"FR-01", "TK-01", "CK-01", "CO-02", "UP-01"} <= failed


async def test_target_that_dies_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(_place: Place) -> bool:
        return False

    monkeypatch.setattr(commands, "reachable", gone)
    with pytest.raises(CannotRun, match=r"serves nobody any more after FR-01 \(CL \+ TE"):
        await report_of("gullible", passes=())
