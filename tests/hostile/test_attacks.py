"""The attack cases of `attacks.json` against the real gateway: a child process, real sockets.

How to read a case: `raw` (or `steps`, in order, on one connection) is sent byte for byte, after
`{{...}}` has been filled in (`tokens.py`), to a gateway with the configuration that `config` names
(`profiles.py`). `expect` says which final statuses are right, what may reach the upstream, and
which words of `checks.py` must hold; `recipe` says what else there is to it, and `recipes.py` does
that. A failure names everything that was not as expected.

How to add one: append it to `attacks.json`. A new placeholder needs a recipe in `tokens.py`, a new
word a check in `checks.py` (and a line in `test_checks.py` that shows it failing), a special path
a script in `scripts.py`. What is not known fails; what cannot be configured in this version stands
in `profiles.NOT_BUILT`, and the cases that are left out for that reason are listed, one by one,
below.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.hostile.arena import Arena, attack
from tests.hostile.cases import Case, load
from tests.hostile.checks import failures
from tests.hostile.profiles import GATEWAYS, HOST, NOT_BUILT, PROFILES, gateway_of
from tests.hostile.recipes import PLACES, RECIPES
from tests.hostile.tokens import CONTROLS, SECRET, SENT, resolver, variants_of
from tests.support.client import exchange
from tests.support.mint import V5_COOKIE

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED_PROFILES, CASES = load()

LEFT_OUT = {
    *("CS-07", "EP-06", "EP-07", "ID-36", "LK-09", "TK-35", "TK-36"),
    *("TP-04", "TP-08", "TP-10", "TP-11"),
}


RUNS = [
    pytest.param(
        case,
        variant,
        id=f"{case.id}-{variant}" if variant else case.id,
        marks=[pytest.mark.slow] if case.id in PLACES else [],
    )
    for case in CASES
    if case.profile not in NOT_BUILT
    for variant in variants_of(case.placeholders)
]


async def test_the_cases_that_are_left_out_are_these_and_no_others() -> None:
    assert {case.id for case in CASES if case.profile in NOT_BUILT} == LEFT_OUT


async def test_every_profile_is_configured_or_named_as_not_built() -> None:
    assert set(NAMED_PROFILES) | {"hasty"} == set(PROFILES) | set(NOT_BUILT)


@pytest.mark.slow
async def test_every_gateway_starts_and_serves(arena: Arena) -> None:
    places = await asyncio.gather(*(arena.place(name) for name in GATEWAYS))
    assert [await place.fence() for place in places] == [True] * len(GATEWAYS)


@pytest.mark.parametrize(("case", "variant"), RUNS)
async def test_attack(case: Case, variant: str, arena: Arena) -> None:
    place = await arena.place(gateway_of(PLACES.get(case.id, case.profile)))
    outcome = await RECIPES.get(case.id, attack)(place, case, variant)
    problems = failures(case.expecting(resolver(variant)), outcome)
    assert not problems, "\n".join([f"{case.title} ({case.profile})", *problems])


@pytest.mark.parametrize("name", CONTROLS)
async def test_undamaged_token_is_accepted(name: str, arena: Arena) -> None:
    place = await arena.place("base")
    answer = await exchange(
        place.gateway.port,
        f"GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nCookie: {V5_COOKIE}={CONTROLS[name]()}\r\n"
        "Connection: close\r\n\r\n".encode(),
    )
    assert answer.status == 200
    assert ["X-User-Id", "u-1"] in answer.json()["headers"]


async def test_no_log_of_any_gateway_holds_a_secret_or_a_traceback(arena: Arena) -> None:
    place = await arena.place("base")
    assert await place.fence()
    # The last part of a token is its tag, which a log that cuts long values short would hold too.
    secrets = {SECRET} | {token.split(".")[-1] for token in SENT}
    for name, place in arena.places.items():
        text = place.gateway.log_text()
        place.gateway.log_lines()
        assert "Traceback" not in text, name
        assert [secret for secret in secrets if len(secret) > 8 and secret in text] == [], name
