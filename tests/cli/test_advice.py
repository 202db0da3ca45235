"""Advice for every refusal."""

from __future__ import annotations

from proxy.cli.advice import ADVICE
from proxy.errors import LimitStoreDown, ProxyError, Refusal, SessionStoreDown


def codes(base: type[ProxyError]) -> set[str]:
    own = {base.code} if hasattr(base, "code") else set()
    return own.union(*(codes(below) for below in base.__subclasses__()))


def test_every_refusal_has_its_advice_and_nothing_else_has() -> None:
    assert set(ADVICE) == codes(Refusal) | {SessionStoreDown.code, LimitStoreDown.code}


def test_advice_is_a_sentence() -> None:
    assert all(text.endswith(".") and text[0].isupper() for text in ADVICE.values())
