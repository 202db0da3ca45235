"""proxy/gateway/crowd.py: who may stay when there are too many connections."""

from __future__ import annotations

import logging

import pytest

from proxy.config.model import Limits
from proxy.errors import Overloaded, RateLimited
from proxy.gateway import crowd as crowd_module
from proxy.gateway.crowd import RESERVE, Crowd, Wait


class Connection:
    """Notes how it ended; `waits` is told by the test."""

    def __init__(self, waits: Wait | None = None, *, address: str = "203.0.113.7") -> None:
        self.waits = waits
        self.address = address
        self.ended = ""

    def give_way(self) -> bool:
        self.ended = "gave way"
        return True

    def abort(self) -> None:
        self.ended = "aborted"


class Clock:
    """The time, as crowd.py asks for it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(crowd_module, "monotonic", clock)
    return clock


def crowd_of(connections: int = 3, per_client: int | None = None) -> Crowd:
    limits = Limits(connections=connections, connections_per_client=per_client)
    return Crowd(lambda: limits, lambda address: address == "10.0.0.1")


def fill(crowd: Crowd, *waits: Wait | None) -> list[Connection]:
    """Let one connection in for each of `waits`."""
    members = [Connection(wait) for wait in waits]
    assert [crowd.enter(member) for member in members] == [None] * len(members)
    return members


def test_up_to_the_limit_all_may_come() -> None:
    crowd = crowd_of(3)
    members = fill(crowd, None, (0, 0.0), (1, 0.0))
    assert [member.ended for member in members] == ["", "", ""]
    assert repr(crowd) == "<Crowd inside=3 too_many=0>"


def test_beyond_it_who_is_at_work_stays_and_the_newcomer_is_one_too_many() -> None:
    crowd = crowd_of(2)
    members = fill(crowd, None, None)
    assert isinstance(crowd.enter(Connection()), Overloaded)
    assert [member.ended for member in members] == ["", ""]
    assert crowd.refused == {"connections": 1}
    assert repr(crowd) == "<Crowd inside=2 too_many=1>"


@pytest.mark.parametrize(
    ("waits", "goes"),
    [
        ([(1, 900.0), (1, 800.0), (1, 850.0)], 1),
        ([(1, 100.0), (0, 900.0), None], 1),
        ([(0, 900.0), (0, 800.0), (1, 1.0)], 1),
        ([None, None, (1, 999.0)], 2),
    ],
    ids=["the longest idle", "a slow head first", "the slowest", "the only one"],
)
def test_who_has_waited_longest_gives_way(waits: list[Wait | None], goes: int) -> None:
    crowd = crowd_of(3)
    members = fill(crowd, *waits)
    assert crowd.enter(Connection()) is None
    assert [i for i, member in enumerate(members) if member.ended == "gave way"] == [goes]
    assert crowd.refused == {}
    assert repr(crowd) == "<Crowd inside=3 too_many=0>"


def test_nobody_gives_way_within_a_second(clock: Clock) -> None:
    crowd = crowd_of(2)
    members = fill(crowd, (0, 999.5), (1, 999.5))
    assert isinstance(crowd.enter(Connection()), Overloaded)
    clock.now += 0.5
    assert crowd.enter(Connection()) is None
    assert members[0].ended == "gave way"


def test_who_moved_since_the_last_look_stays() -> None:
    crowd = crowd_of(3)
    members = fill(crowd, (1, 900.0), (1, 901.0), (1, 902.0))
    crowd.enter(Connection())
    members[1].waits = None
    crowd.enter(Connection())
    assert [member.ended for member in members] == ["gave way", "", "gave way"]


def test_who_left_since_the_last_look_makes_no_room_twice() -> None:
    crowd = crowd_of(3)
    members = fill(crowd, (1, 900.0), (1, 901.0), None)
    crowd.enter(Connection())
    crowd.leave(members[1])
    assert crowd.enter(Connection()) is None
    assert members[1].ended == ""
    assert isinstance(crowd.enter(Connection()), Overloaded)


def test_all_are_looked_at_a_few_times_a_second_only(clock: Clock) -> None:
    crowd = crowd_of(1)
    [member] = fill(crowd, None)
    looks = 0

    class Looked(Connection):
        @property
        def waits(self) -> Wait | None:
            nonlocal looks
            looks += 1
            return None

        @waits.setter
        def waits(self, _: Wait | None) -> None: ...

    crowd.leave(member)
    crowd.enter(Looked())
    for _ in range(1000):
        crowd.enter(Connection())
    assert looks == 1
    clock.now += 0.25
    crowd.enter(Connection())
    assert looks == 2


def test_of_those_too_many_the_oldest_go() -> None:
    crowd = crowd_of(1)
    fill(crowd, None)
    members = [Connection() for _ in range(RESERVE + 2)]
    for member in members:
        crowd.enter(member)
    assert [i for i, member in enumerate(members) if member.ended == "aborted"] == [0, 1]
    assert repr(crowd) == f"<Crowd inside=1 too_many={RESERVE}>"


def test_who_leaves_is_counted_no_more() -> None:
    crowd = crowd_of(1, per_client=1)
    [member] = fill(crowd, None)
    too_many = Connection()
    crowd.enter(too_many)
    for _ in range(2):
        crowd.leave(member)
        crowd.leave(too_many)
    assert repr(crowd) == "<Crowd inside=0 too_many=0>"
    assert crowd.enter(Connection()) is None


def test_it_is_said_once_in_ten_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    crowd = crowd_of(1)
    fill(crowd, None)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            crowd.enter(Connection())
        clock.now += 10
        crowd.enter(Connection())
    told = [(vars(record)["limit"], vars(record)["refused"]) for record in caplog.records]
    assert told == [("limits.connections", 1), ("limits.connections", 101)]


# By client.


def test_a_client_has_so_many_and_others_have_theirs() -> None:
    crowd = crowd_of(100, per_client=2)
    fill(crowd, None, None)
    assert isinstance(crowd.enter(Connection()), RateLimited)
    assert crowd.enter(Connection(address="203.0.113.8")) is None
    assert crowd.refused == {"connections_per_client": 1}


def test_its_own_give_way_and_nobody_else_s() -> None:
    crowd = crowd_of(100, per_client=2)
    other = Connection((0, 1.0), address="203.0.113.8")
    crowd.enter(other)
    members = fill(crowd, (1, 900.0), (1, 800.0))
    assert crowd.enter(Connection()) is None
    assert [member.ended for member in (other, *members)] == ["", "", "gave way"]
    assert isinstance(crowd.enter(Connection()), RateLimited) is False
    assert isinstance(crowd.enter(Connection()), RateLimited)


def test_one_that_may_have_only_one_gets_room_by_the_other() -> None:
    crowd = crowd_of(100, per_client=1)
    [first] = fill(crowd, (1, 900.0))
    second = Connection((1, 900.0))
    assert crowd.enter(second) is None
    assert crowd.enter(Connection()) is None
    assert (first.ended, second.ended) == ("gave way", "gave way")
    assert repr(crowd) == "<Crowd inside=1 too_many=0>"


@pytest.mark.parametrize("address", ["unix", "10.0.0.1"])
def test_proxies_are_many_clients(address: str) -> None:
    crowd = crowd_of(100, per_client=1)
    for _ in range(5):
        assert crowd.enter(Connection(address=address)) is None


def test_by_default_nobody_is_counted_by_client() -> None:
    crowd = crowd_of(100)
    fill(crowd, *[None] * 100)


def test_an_ipv6_network_is_one_client() -> None:
    crowd = crowd_of(100, per_client=1)
    assert crowd.enter(Connection(address="2001:db8::1")) is None
    assert crowd.enter(Connection(address="2001:db8::2")) is not None
    assert crowd.enter(Connection(address="2001:db8:0:1::1")) is None
