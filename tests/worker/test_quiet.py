"""proxy/worker/quiet.py: a connection in use is not closed under its client's next request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.worker import quiet
from proxy.worker.quiet import Quiet


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=100.0)
    monkeypatch.setattr(quiet, "monotonic", lambda: made.now)
    return made


class Client:
    deadline = 500.0


def quiet_for(grace: float) -> Quiet[Client]:
    return Quiet(grace, lambda client: client.deadline)


def test_one_that_is_silent_for_long_enough_may_be_closed(clock: SimpleNamespace) -> None:
    client = Client()
    looks = quiet_for(1.0)
    assert looks.look([client]) == []
    clock.now += 0.5
    assert looks.look([client]) == []
    clock.now += 0.5
    assert looks.look([client]) == [client]


def test_an_exchange_between_two_looks_begins_the_time_anew(clock: SimpleNamespace) -> None:
    client = Client()
    looks = quiet_for(1.0)
    looks.look([client])
    clock.now += 0.9
    client.deadline += 1.0
    assert looks.look([client]) == []
    clock.now += 0.9
    assert looks.look([client]) == []
    clock.now += 0.1
    assert looks.look([client]) == [client]


def test_one_that_is_gone_is_forgotten() -> None:
    client = Client()
    looks = quiet_for(0.0)
    assert looks.look([client]) == [client]
    assert looks.look([]) == []
    assert repr(looks) == "<Quiet seen=0>"
