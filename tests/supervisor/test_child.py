"""proxy/supervisor/child.py: a worker that does what it is asked."""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from proxy.config.model import Config
from proxy.supervisor import messages
from proxy.supervisor.child import Child
from proxy.supervisor.loans import loan_pair
from tests.support.client import exchange
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, request, settings


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Give the test's process its handlers back."""
    root, ours = logging.getLogger(), logging.getLogger("gatelodge")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


@pytest.fixture
async def child(listener: socket.socket) -> AsyncIterator[Child]:
    ours, theirs = loan_pair()
    made = Child(listener, theirs)
    yield made
    ours.close()
    theirs.close()
    if made.worker is not None:
        await made.worker.stop()


def config_of(*endpoints: str, **sections: object) -> Config:
    return LocalGateway(settings(*endpoints, **sections)).config


async def test_it_begins_and_follows(child: Child, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    async with StubUpstream() as upstream:
        assert await child.answer(messages.Begin(config_of(upstream.url), 3)) == ""
        assert await child.answer(messages.Accept()) == ""
        assert (await exchange(port, request("GET", "/public/x"))).status == 200
        refusing = config_of(upstream.url, routes=[{"path": "/**", "upstream": "api"}])
        assert await child.answer(messages.Prepare(refusing)) == ""
        assert (await exchange(port, request("GET", "/public/x"))).status == 200
        await child.answer(messages.Commit())
        assert (await exchange(port, request("GET", "/public/x"))).status == 401
        assert await child.answer(messages.Prepare(config_of(upstream.url))) == ""
        await child.answer(messages.Abandon())
        assert (await exchange(port, request("GET", "/public/x"))).status == 401


async def test_its_report_can_be_sent(child: Child) -> None:
    await child.answer(messages.Begin(config_of("http://127.0.0.1:1"), 1))
    state = await child.answer(messages.Report())
    assert isinstance(state, messages.State)
    assert (state.ready, state.word) == (True, "ready")
    assert pickle.loads(pickle.dumps(state)).status == state.status  # noqa: S301 - our own


async def test_why_it_cannot_begin_is_told(child: Child) -> None:
    web = {"kind": "authjs", "secret": "Zt4vTq1sJxVb7oQm2Lr9KfYc8NwHd5Ge"}
    bad = config_of("http://127.0.0.1:1", sessions={"web": web})
    broken = bad.model_copy(
        update={"sessions": {"web": bad.sessions["web"].model_copy(update={"cookie": "no cookie"})}}
    )
    told = await child.answer(messages.Begin(broken, 1))
    assert "cookie" in str(told)
    assert child.worker is None


async def test_it_is_told_to_end(child: Child) -> None:
    assert await child.answer(messages.Drain()) == ""
    assert child.ending.is_set()


@pytest.mark.parametrize("question", [messages.Commit(), messages.Report()])
async def test_what_makes_no_sense_yet_is_an_error(
    child: Child, question: messages.Question
) -> None:
    with pytest.raises(RuntimeError):
        await child.answer(question)


async def test_a_loan_that_has_not_come_is_told(child: Child) -> None:
    await child.answer(messages.Begin(config_of("http://127.0.0.1:1"), 1))
    assert await child.answer(messages.Borrow(2)) == "the socket has not come"
    assert await child.answer(messages.GiveBack(2)) == ""
