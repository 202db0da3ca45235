"""Signed sessions: PyJWT takes the undamaged ones, and none that it can see the damage of."""

from __future__ import annotations

import jwt
import pytest

from tests.hostile.signed import KEY, RECIPES, SIGNED, sign
from tests.hostile.tokens import user_claims

pytestmark = pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")


def claims_of(token: str) -> dict[str, object]:
    return jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_sub": False})


@pytest.mark.parametrize("name", SIGNED.controls)
def test_undamaged_session_is_taken(name: str) -> None:
    assert claims_of(SIGNED.controls[name]())["sub"] == "u-1"


def test_claims_become_a_session() -> None:
    assert claims_of(SIGNED.session(user_claims(sub="a-1")))["sub"] == "a-1"


DAMAGED = ("TK01", "TK08", "TK13", "TK17", "TK22", "TK24")


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_session_is_refused(name: str) -> None:
    for make in RECIPES[name].values():
        with pytest.raises(jwt.InvalidTokenError):
            claims_of(make())


def test_every_session_is_distinct() -> None:
    tokens = [make() for variants in RECIPES.values() for make in variants.values()]
    assert len(set(tokens)) == len(tokens)


def test_a_header_of_any_shape_is_signed() -> None:
    assert sign(b"{}", b"[]").startswith("W10.e30.")
