"""proxy/gateway/deciding.py: nothing ends under a decision."""

from __future__ import annotations

import asyncio

import pytest

from proxy.gateway.deciding import Deciding


async def test_without_a_decision_there_is_nothing_to_wait_for() -> None:
    await Deciding().over()


async def test_the_last_one_is_waited_for_however_it_ends() -> None:
    deciding = Deciding()
    deciding.__enter__()
    over = asyncio.ensure_future(deciding.over())
    with pytest.raises(KeyError), deciding:
        raise KeyError
    await asyncio.sleep(0)
    assert not over.done()
    assert repr(deciding) == "<Deciding 1>"
    deciding.__exit__(None, None, None)
    await over


async def test_who_does_not_wait_any_more_is_no_harm() -> None:
    deciding = Deciding()
    with deciding:
        over = asyncio.ensure_future(deciding.over())
        await asyncio.sleep(0)
        over.cancel()
        await asyncio.sleep(0)
    assert repr(deciding) == "<Deciding 0>"
