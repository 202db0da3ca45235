"""Runs the cases: the one engine behind the tests here and behind `make conformance`.

A case has one fate, and its reason if it is not run; `plan` tells them apart by data alone. What is
run passes only when nothing at all is wrong: a recipe that breaks off, an answer that cannot be
read and a target that cannot be reached are problems like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.hostile.arena import Place, attack
from tests.hostile.cases import Case, LeftOut
from tests.hostile.checks import failures
from tests.hostile.outcome import NotAsExpected, Outcome
from tests.hostile.profiles import HOST, LOGINS, PROFILES
from tests.hostile.recipes import NEEDS_OUR_PROCESS, PLACES, RECIPES
from tests.hostile.tokens import AUTHJS, SECRET, SENT, Kind, resolver, tokens_of, variants_of
from tests.support.mint import V5_COOKIE

_CLOCK_TRIES: Final = 3
"""How often a case that took too long by the clock is tried: other load makes it only longer."""


class Fate(StrEnum):
    """What becomes of a case in a run."""

    RUN = "run"
    NOT_APPLICABLE = "not applicable"
    OUR_PROCESS = "own suite only"
    OTHER_PROFILE = "other profile"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Planned:
    """A case, what becomes of it, and why if it is not run."""

    case: Case
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case, or of one variant of it: it passes when there is no problem."""

    case: Case
    variant: str
    problems: tuple[str, ...]
    happened: str

    @property
    def name(self) -> str:
        """The case's id, with its variant if it has several."""
        return f"{self.case.id}-{self.variant}" if self.variant else self.case.id


@dataclass(frozen=True, slots=True)
class Control:
    """An undamaged session of u-1, and the cookie that it comes in."""

    name: str
    cookie: str
    token: str = field(repr=False)


def profile_of(case: Case) -> str:
    """Return the profile against which `case` is run."""
    return PLACES.get(case.id, case.profile)


def plan(
    cases: Iterable[Case],
    left_out: Mapping[str, LeftOut],
    *,
    profiles: Collection[str] = tuple(PROFILES),
    kind: Kind = AUTHJS,
    our_process: bool = True,
) -> list[Planned]:
    """Return what becomes of each case, against a target that has these profiles."""
    return [_planned(case, left_out, profiles, kind, our_process) for case in cases]


def _planned(
    case: Case,
    left_out: Mapping[str, LeftOut],
    profiles: Collection[str],
    kind: Kind,
    our_process: bool,
) -> Planned:
    profile = profile_of(case)
    if case.id in left_out:
        return Planned(case, Fate.LEFT_OUT, left_out[case.id].why)
    if case.id in NEEDS_OUR_PROCESS and not our_process:
        return Planned(case, Fate.OUR_PROCESS, NEEDS_OUR_PROCESS[case.id])
    if profile not in profiles:
        return Planned(case, Fate.OTHER_PROFILE, profile)
    if missing := tokens_of(case.placeholders) - set(kind.recipes):
        why = f"{', '.join(sorted(missing))} cannot be said in a {kind.name} session"
        return Planned(case, Fate.NOT_APPLICABLE, why)
    return Planned(case, Fate.RUN)


def runs(planned: Iterable[Planned], kind: Kind = AUTHJS) -> list[tuple[Case, str]]:
    """Return the cases that are run, each with each of its variants."""
    return [
        (entry.case, variant)
        for entry in planned
        if entry.fate is Fate.RUN
        for variant in variants_of(entry.case.placeholders, kind)
    ]


async def judge(place: Place, case: Case, variant: str = "") -> Verdict:
    """Run one case at `place` and return what came of it."""
    tries = _CLOCK_TRIES if case.max_ms is not None and place.process is None else 1
    while True:
        verdict, outcome = await _tried(place, case, variant)
        tries -= 1
        # The clock of a place that is not ours counts other load too.
        slow = outcome is not None and outcome.milliseconds > (case.max_ms or 0)
        if not tries or not verdict.problems or not slow:
            return verdict


async def _tried(place: Place, case: Case, variant: str) -> tuple[Verdict, Outcome | None]:
    try:
        outcome = await RECIPES.get(case.id, attack)(place, case, variant)
    except NotAsExpected as problem:
        broken = str(problem)
    except TimeoutError:
        broken = "waited in vain for what should happen next"
    except OSError as error:
        broken = f"the connection failed: {error}"
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        broken = f"what came cannot be judged: {type(error).__name__}: {error}"
    else:
        expecting = case.expecting(place.resolver(variant))
        problems = failures(expecting, outcome, own_errors=place.own_errors)
        return Verdict(case, variant, tuple(problems), outcome.told()), outcome
    # What is still on its way must not be taken for a part of the next case.
    await place.fence()
    return Verdict(case, variant, (broken,), "broke off"), None


def controls(profiles: Iterable[str], kind: Kind = AUTHJS) -> list[Control]:
    """Return the undamaged sessions that a target with these profiles must take.

    A target that refuses them would refuse the damaged ones for no good reason.
    """
    for profile in profiles:
        if profile in LOGINS:
            cookie, name = LOGINS[profile]
            return [Control(name, cookie, resolver(kind=kind)(name).decode())]
    return [Control(name, V5_COOKIE, make()) for name, make in kind.controls.items()]


async def control_problems(place: Place, control: Control) -> list[str]:
    """Return what is wrong with how `place` takes an undamaged session."""
    try:
        answer = await place.ask(
            f"GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nCookie: {control.cookie}={control.token}\r\n"
            "Connection: close\r\n\r\n"
        )
    except (NotAsExpected, OSError) as problem:
        return [str(problem)]
    if answer.status != 200:
        return [f"status {answer.status}, not 200"]
    try:
        told = [value for key, value in answer.json()["headers"] if key.lower() == "x-user-id"]
    except (LookupError, TypeError, ValueError):
        return ["200 that is not the upstream's own answer"]
    return [] if told == ["u-1"] else [f"the upstream was told X-User-Id {told}, not u-1"]


def log_problems(place: Place) -> list[str]:
    """Return what the log of our own gateway holds that it must not."""
    # The last part of a token is its tag, which a log that cuts long values short would hold too.
    secrets = {SECRET} | {token.split(".")[-1] for token in SENT}
    text = place.gateway.log_text()
    place.gateway.log_lines()
    found = [secret for secret in secrets if len(secret) > 8 and secret in text]
    traceback = ["a traceback is in the log"] if "Traceback" in text else []
    return traceback + [f"the log holds a secret that begins with {s[:4]}" for s in sorted(found)]


async def reachable(place: Place, tries: int = 5) -> bool:
    """Return whether `place` serves the fence, now or soon."""
    for _ in range(tries):
        if await place.fence():
            return True
        await asyncio.sleep(0.2)
    return False
