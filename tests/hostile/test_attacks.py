"""The attack cases of `attacks.json` against the real gateway: a child process, real sockets.

How to read a case: `raw` (or `steps`, in order, on one connection) is sent byte for byte, after
`{{...}}` has been filled in (`tokens.py`), to a gateway with the configuration that `config` names
(`profiles.py`). `expect` says which final statuses are right, what may reach the upstream, and
which words of `checks.py` must hold; `recipe` says what else there is to it, and `recipes.py` does
that. A failure names everything that was not as expected.

How to add one: append it to `attacks.json`. A new placeholder needs a recipe in `tokens.py`, a new
word a check in `checks.py` (and a line in `test_checks.py` that shows it failing), a special path
a script in `scripts.py`. What is not known fails; what this version cannot be configured for stands
in `left-out.yaml` with the reason.

`make conformance` runs the same cases by the same `engine.py`, against any proxy.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.hostile.arena import Arena
from tests.hostile.cases import Case, load, load_left_out
from tests.hostile.engine import (
    control_problems,
    controls,
    judge,
    log_problems,
    plan,
    profile_of,
    runs,
)
from tests.hostile.profiles import GATEWAYS, gateway_of
from tests.hostile.recipes import PLACES

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = [
    pytest.param(
        case,
        variant,
        id=f"{case.id}-{variant}" if variant else case.id,
        marks=[pytest.mark.slow] if case.id in PLACES else [],
    )
    for case, variant in runs(plan(load()[1], load_left_out()))
]


@pytest.mark.slow
async def test_every_gateway_starts_and_serves(arena: Arena) -> None:
    places = await asyncio.gather(*(arena.place(name) for name in GATEWAYS))
    assert [await place.fence() for place in places] == [True] * len(GATEWAYS)


@pytest.mark.parametrize(("case", "variant"), RUNS)
async def test_attack(case: Case, variant: str, arena: Arena) -> None:
    place = await arena.place(gateway_of(profile_of(case)))
    problems = (await judge(place, case, variant)).problems
    assert not problems, "\n".join([f"{case.title} ({case.profile})", *problems])


@pytest.mark.parametrize("gateway", sorted(set(GATEWAYS) - {"stored"}))
async def test_undamaged_tokens_are_accepted(gateway: str, arena: Arena) -> None:
    place = await arena.place(gateway)
    for control in controls(GATEWAYS[gateway]):
        assert await control_problems(place, control) == [], control.name


async def test_no_log_of_any_gateway_holds_a_secret_or_a_traceback(arena: Arena) -> None:
    assert await (await arena.place("base")).fence()
    assert [log_problems(place) for place in arena.places.values()] == [[]] * len(arena.places)
