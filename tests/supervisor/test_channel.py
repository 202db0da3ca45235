"""proxy/supervisor/channel.py: several questions at once, and ends that go away."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.supervisor.channel import (
    Answerer,
    AnswerFailed,
    Asker,
    Channel,
    ChannelClosed,
    open_channel,
)


class Pair:
    """Both ends of a channel, and what the worker's end is asked."""

    def __init__(self, ours: Channel, theirs: Channel) -> None:
        self.ours, self.theirs = ours, theirs
        self.events: list[object] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.asker = Asker(ours, self.events.append)
        self.answerer = Answerer(theirs, self._answer)
        self.tasks = [
            asyncio.ensure_future(self.asker.listen()),
            asyncio.ensure_future(self.answerer.serve()),
        ]

    async def _answer(self, question: Any) -> object:
        if question == "unsayable":
            return (each for each in [question])
        if question == "broken":
            raise KeyError("hunter2")
        await self.gates.setdefault(question, asyncio.Event()).wait()
        return question.upper()

    def open(self, question: str) -> None:
        self.gates.setdefault(question, asyncio.Event()).set()


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    made = Pair(*[await open_channel(end) for end in ends])
    yield made
    await made.ours.close()
    await made.theirs.close()
    await asyncio.gather(*made.tasks)


async def test_answers_find_their_questions_in_any_order() -> None:
    async with pair() as both:
        asked = {word: asyncio.ensure_future(both.asker.ask(word)) for word in ("one", "two")}
        both.open("two")
        assert await asked["two"] == "TWO"
        assert not asked["one"].done()
        both.open("one")
        assert await asked["one"] == "ONE"


async def test_a_message_may_be_large() -> None:
    async with pair() as both:
        word = "x" * (5 << 20)
        both.open(word)
        assert await both.asker.ask(word) == word.upper()


async def test_an_event_answers_no_question() -> None:
    async with pair() as both:
        await both.answerer.tell("deaf")
        both.open("one")
        assert await both.asker.ask("one") == "ONE"
        assert both.events == ["deaf"]


@pytest.mark.parametrize("question", ["broken", "unsayable"])
async def test_a_question_that_cannot_be_answered_is_no_end(
    question: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair() as both:
        with caplog.at_level(logging.ERROR), pytest.raises(AnswerFailed):
            await both.asker.ask(question)
        assert len(caplog.records) == 1
        both.open("one")
        assert await both.asker.ask("one") == "ONE"


async def test_who_waits_learns_that_the_worker_has_gone() -> None:
    async with pair() as both:
        asked = asyncio.ensure_future(both.asker.ask("one"))
        await asyncio.sleep(0)
        await both.theirs.close()
        with pytest.raises(ChannelClosed):
            await asked
        with pytest.raises(ChannelClosed):
            await both.asker.ask("two")


async def test_who_asks_at_any_moment_of_a_reset_learns_that_the_worker_has_gone() -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    end, far = socket.socketpair()
    end.setblocking(False)
    asker = Asker(await open_channel(end), lambda _event: None)
    listening = asyncio.ensure_future(asker.listen())
    asked = []
    for turn in range(20):
        if turn == 5:
            far.close()  # a reset, since what was asked has not been read
        asked.append(asyncio.ensure_future(asker.ask(turn)))
        await asyncio.sleep(0)
    told = {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)}
    assert told == {ChannelClosed}
    await listening
    asked.clear()
    gc.collect()
    assert lost == []


async def test_the_worker_learns_that_the_supervisor_has_gone() -> None:
    async with pair() as both:
        await both.ours.close()
        await both.tasks[1]
        await both.answerer.tell("deaf")  # to nobody


async def test_who_does_not_wait_any_more_is_no_harm() -> None:
    async with pair() as both:
        asked = asyncio.ensure_future(both.asker.ask("one"))
        await asyncio.sleep(0)
        asked.cancel()
        both.open("one")
        both.open("two")
        assert await both.asker.ask("two") == "TWO"


def test_a_channel_shows_no_message() -> None:
    async def shown() -> str:
        async with pair() as both:
            return f"{both.ours} {both.asker} {both.answerer}"

    assert asyncio.run(shown()).count("<") == 3
