"""proxy/upstream/pool.py: whose turn it is, who may be used, and what outlives a configuration."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Endpoint as Address
from proxy.errors import NoEndpoint
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.pool import Pool
from tests.support.certificates import Authority
from tests.support.exchanges import config_of, exchange, head
from tests.support.upstream import StubUpstream

CONFIG = """
upstreams: {{api: {{{keys}}}}}
routes: [{{path: /**, upstream: api, auth: public}}]
"""
X = exchange(head())
THREE = "endpoints: ['http://a:1', 'http://b:1', 'http://c:1']"


def pool_of(keys: str, dns: Dns | None = None) -> Pool:
    loop = asyncio.get_running_loop()
    config = config_of(CONFIG.format(keys=keys))
    look_up = Dns() if dns is None else dns
    return Pool("api", config.upstreams["api"], loop, Deadlines(loop), look_up=look_up)


class Dns:
    """Answers look-ups by what it holds, an error or addresses, and counts them."""

    def __init__(self, *answer: str) -> None:
        self.answer: Sequence[str] | OSError = answer
        self.asked = 0

    async def __call__(
        self, _loop: asyncio.AbstractEventLoop, host: str, port: int
    ) -> Sequence[str]:
        assert (host, port) == ("api.test", 8000)
        self.asked += 1
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@asynccontextmanager
async def started(pool: Pool, previous: Pool | None = None) -> AsyncIterator[Pool]:
    """Run the pool, in the place of `previous` if there is one."""
    await pool.prepare()
    if previous is not None:
        pool.take_over(previous)
    pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a pool tells nobody that it changed
            await asyncio.sleep(0.005)


def names(endpoints: Sequence[Endpoint]) -> list[str]:
    return [endpoint.name for endpoint in endpoints]


async def used(endpoint: Endpoint) -> UpstreamConnection:
    """Leave an idle connection at the endpoint."""
    connection = await endpoint.connect(5.0)
    connection.begin(bodiless=False, upgrade=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while await connection.read():
        pass
    endpoint.give_back(connection)
    return connection


async def test_endpoints_take_turns() -> None:
    pool = pool_of(THREE)
    assert [pool.pick(X).name for _ in range(4)] == [
        "http://a:1",
        "http://b:1",
        "http://c:1",
        "http://a:1",
    ]


async def test_a_second_try_goes_to_another_endpoint() -> None:
    pool = pool_of(THREE)
    tried: list[Endpoint] = []
    for _ in range(3):
        tried.append(pool.pick(X, tried))
        pool.pick(X)  # another request in between
    assert {endpoint.name for endpoint in tried} == {"http://a:1", "http://b:1", "http://c:1"}


async def test_where_all_were_tried_their_turns_go_on() -> None:
    pool = pool_of(THREE)
    tried = [pool.pick(X) for _ in range(3)]
    assert pool.pick(X, tried) in tried


async def test_a_single_endpoint_is_tried_again() -> None:
    pool = pool_of("endpoints: ['http://a:1']")
    assert pool.pick(X, [pool.pick(X)]) is pool.endpoints[0]


@pytest.mark.parametrize(("keys", "tells"), [("", False), (", host: upstream", True)])
async def test_whose_host_is_told(keys: str, tells: bool) -> None:
    assert pool_of(THREE + keys).tells_own_host is tells


async def test_closing_the_idle_closes_those_of_all_endpoints() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        pool = pool_of(f"endpoints: ['{one.url}', '{two.url}']")
        for endpoint in pool.endpoints:
            await used(endpoint)
        assert [endpoint.idle for endpoint in pool.endpoints] == [1, 1]
        pool.close_idle()
        assert [endpoint.idle for endpoint in pool.endpoints] == [0, 0]


async def test_weights_are_those_of_the_configuration() -> None:
    pool = pool_of("endpoints: ['http://a:1', {url: 'http://b:1', weight: 2}]")
    picked = Counter(pool.pick(X).name for _ in range(30))
    assert picked == {"http://a:1": 10, "http://b:1": 20}


# Checks.

HEALTH = "health: {path: /healthz, interval: 5ms, rise: 2, fall: 2}"


async def test_an_endpoint_that_checks_find_down_gets_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gatelodge.upstream")
    async with StubUpstream() as one, StubUpstream() as two:
        two.script("/healthz", DOWN)
        async with started(pool_of(f"endpoints: ['{one.url}', '{two.url}'], {HEALTH}")) as pool:
            assert names(pool.usable) == [one.url, two.url]
            await until(lambda: len(pool.usable) == 1)
            assert {pool.pick(X).name for _ in range(5)} == {one.url}
            assert pool.endpoints[1].standing.reason == "status 503"
            two.script("/healthz", UP)
            await until(lambda: len(pool.usable) == 2)
            one.script("/healthz", DOWN)
            two.script("/healthz", DOWN)
            await until(lambda: not pool.usable)
            with pytest.raises(NoEndpoint, match=f"{one.url} down: status 503; {two.url} down"):
                pool.pick(X)
            assert pool.take_idle(X, 10.0) is None
    told = [(r.message, r.__dict__.get("reason")) for r in caplog.records]
    assert told[:2] == [("endpoint is down", "status 503"), ("endpoint is up", None)]
    assert [what for what, _ in told].count("upstream has no usable endpoint") == 1


DOWN = b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n"
UP = b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"


async def test_in_panic_all_endpoints_are_used() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        for each in (one, two):
            each.script("/healthz", DOWN)
        keys = f"endpoints: ['{one.url}', '{two.url}'], {HEALTH}, panic: forward"
        async with started(pool_of(keys)) as pool:
            await until(lambda: not any(each.standing.usable for each in pool.endpoints))
            assert {pool.pick(X).name for _ in range(4)} == {one.url, two.url}
            assert pool.problem == ""
            two.script("/healthz", UP)
            await until(lambda: names(pool.usable) == [two.url])


async def test_a_fault_of_ours_does_not_end_the_look_ups(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(Dns):
        async def __call__(
            self, loop: asyncio.AbstractEventLoop, host: str, port: int
        ) -> Sequence[str]:
            await super().__call__(loop, host, port)
            if self.asked == 2:
                raise ZeroDivisionError
            return ("10.0.0.1",)

    caplog.set_level("WARNING", "gatelodge.upstream")
    dns = Faulty()
    async with started(pool_of(NAME, dns)):
        await until(lambda: dns.asked > 4)
    assert [r.message for r in caplog.records] == ["looking after an upstream failed"]


async def test_a_pool_that_stopped_checks_no_more() -> None:
    async with StubUpstream() as one:
        pool = pool_of(f"endpoints: ['{one.url}'], {HEALTH}")
        async with started(pool):
            await until(lambda: len(one.requests) > 2)
        seen = len(one.requests)
        await asyncio.sleep(0.03)
        assert len(one.requests) <= seen + 1  # one may have been on its way


# Ejections.

EJECT = "eject: {failures: 3, base: 1ms, max_percent: 50}"


async def test_who_fails_is_left_out_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gatelodge.upstream")
    async with started(pool_of(f"{THREE}, {EJECT}")) as pool:
        a, b, _ = pool.endpoints
        for _ in range(3):
            a.failed("refused")
        assert names(pool.usable) == ["http://b:1", "http://c:1"]
        assert (a.standing.state, a.standing.reason) == ("ejected", "refused")
        for _ in range(10):
            b.failed("refused")
        assert names(pool.usable) == ["http://b:1", "http://c:1"]  # two of three is over 50 %
        await until(lambda: len(pool.usable) == 3)
        assert names([pool.pick(X) for _ in range(3)]).count("http://a:1") == 1
    told = [(r.message, r.__dict__["endpoint"]) for r in caplog.records]
    assert told == [("endpoint is ejected", a.name), ("endpoint is restored", a.name)]
    assert (caplog.records[0].__dict__["reason"], caplog.records[0].levelname) == (
        "refused",
        "WARNING",
    )


async def test_a_single_endpoint_is_never_ejected_by_half() -> None:
    async with started(pool_of(f"endpoints: ['http://a:1'], {EJECT}")) as pool:
        for _ in range(30):
            pool.endpoints[0].failed("refused")
        assert pool.usable == (pool.endpoints[0],)


async def test_those_that_are_down_count_as_left_out() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        one.script("/healthz", DOWN)
        keys = f"endpoints: ['{one.url}', '{two.url}'], {HEALTH}, {EJECT}"
        async with started(pool_of(keys)) as pool:
            await until(lambda: len(pool.usable) == 1)
            for _ in range(10):
                pool.endpoints[1].failed("refused")
            assert names(pool.usable) == [two.url]


async def test_who_is_ejected_is_let_in_when_the_others_are_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    eject = "eject: {failures: 1, base: 10m}"
    dns = Dns("10.0.0.1", "10.0.0.2", "10.0.0.3")
    pool = pool_of(f"dns: {{name: 'api.test:8000', interval: 5ms}}, {eject}", dns)
    async with started(pool):
        last = pool.endpoints[0]
        last.failed("refused")
        assert len(pool.usable) == 2
        dns.answer = ("10.0.0.1",)
        await until(lambda: len(pool.endpoints) == 1)
        assert pool.usable == (last,)
        assert pool.problem == ""
    assert caplog.records[-1].__dict__["reason"] == "too few others are left"


async def test_who_is_ejected_is_let_in_when_the_others_are_down() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        keys = f"endpoints: ['{one.url}', '{two.url}'], {HEALTH}, eject: {{failures: 1, base: 10m}}"
        async with started(pool_of(keys)) as pool:
            await until(lambda: bool(one.requests) and bool(two.requests))
            pool.endpoints[0].failed("refused")
            assert names(pool.usable) == [two.url]
            two.script("/healthz", DOWN)
            await until(lambda: pool.endpoints[1].standing.state == "down")
            assert names(pool.usable) == [one.url]


async def test_who_is_ejected_is_let_in_when_a_reload_leaves_no_other() -> None:
    eject = "eject: {failures: 1, base: 10m}"
    async with started(pool_of(f"{THREE}, {eject}")) as before:
        before.endpoints[0].failed("refused")
        async with started(pool_of(f"endpoints: ['http://a:1'], {eject}"), before) as pool:
            assert names(pool.usable) == ["http://a:1"]


async def test_a_pool_that_was_replaced_finds_out_nothing_more() -> None:
    """What it saw in the turns until it is stopped, the next one would not hear of; and what DNS
    does not name any more would leave, though the next one has it.
    """
    config = "dns: {name: 'api.test:8000', interval: 1ms}"
    before = pool_of(config, dns := Dns("10.0.0.1"))
    async with started(before), started(pool_of(config, Dns("10.0.0.1")), before) as pool:
        dns.answer = ("10.0.0.2",)
        asked = dns.asked
        await asyncio.sleep(0.02)
        assert dns.asked == asked
        assert not pool.endpoints[0].leaving


async def test_connections_of_endpoints_that_a_reload_took_away_are_counted() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        before = pool_of(f"endpoints: ['{one.url}']")
        async with started(before):
            busy = await before.endpoints[0].connect(5.0)
            async with started(pool_of(f"endpoints: ['{two.url}']"), before) as pool:
                assert pool.open == 1
                busy.abort()
                await until(lambda: pool.open == 0)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=150), st.integers(1, 100))
def test_no_more_are_ejected_than_the_percentage(
    events: list[tuple[int, bool]], percent: int
) -> None:
    """Whatever fails and goes well, and whenever: a restore is but the clock, so there is none."""

    async def run() -> None:
        listed = ", ".join(f"'http://e{at}:1'" for at in range(7))
        pool = pool_of(f"endpoints: [{listed}], eject: {{failures: 2, max_percent: {percent}}}")
        for at, fails in events:
            endpoint = pool.endpoints[at]
            if fails:
                endpoint.failed("refused")
            else:
                endpoint.standing.succeed()
            out = sum(not each.standing.usable for each in pool.endpoints)
            assert out * 100 <= 7 * percent
            assert len(pool.usable) == 7 - out

    asyncio.run(run())


async def test_who_comes_back_starts_slowly() -> None:
    async with started(pool_of(f"{THREE}, {EJECT}, slow_start: 10m")) as pool:
        for _ in range(3):
            pool.endpoints[0].failed("refused")
        await until(lambda: len(pool.usable) == 3)
        assert [round(each.weight, 1) for each in pool.endpoints] == [0.1, 1.0, 1.0]
        picked = Counter(pool.pick(X).name for _ in range(210))
        assert picked["http://a:1"] == pytest.approx(10, abs=1)


async def test_who_is_left_out_costs_nothing_while_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = f"{THREE}, eject: {{failures: 1, base: 10m}}, slow_start: 10m"
    async with started(pool_of(keys)) as pool:
        pool.endpoints[0].failed("refused")
        used: list[object] = []
        monkeypatch.setattr(pool, "use", used.append)
        ticks = pool._ticks
        await until(lambda: pool._ticks > ticks + 1)
        assert used == []


async def test_a_weight_that_rises_is_taken_note_of() -> None:
    async with started(pool_of(f"{THREE}, {EJECT}, slow_start: 500ms")) as pool:
        for _ in range(3):
            pool.endpoints[0].failed("refused")
        await until(lambda: pool.endpoints[0].weight < 1)
        await until(lambda: pool.endpoints[0].weight == 1)
        assert Counter(pool.pick(X).name for _ in range(30))["http://a:1"] == 10


# DNS.

NAME = "dns: {name: 'api.test:8000', interval: 5ms}"


async def test_each_address_is_an_endpoint_and_they_come_and_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gatelodge.upstream")
    dns = Dns("10.0.0.1", "fd00::1")
    async with started(pool_of(NAME, dns)) as pool:
        assert names(pool.usable) == ["http://10.0.0.1:8000", "http://[fd00::1]:8000"]
        assert {each.authority for each in pool.endpoints} == {b"api.test:8000"}
        stays = pool.endpoints[1]
        dns.answer = ("10.0.0.2", "fd00::1")
        await until(lambda: "http://10.0.0.2:8000" in names(pool.usable))
        assert pool.endpoints[1] is stays
        assert {pool.pick(X).name for _ in range(4)} == set(names(pool.endpoints))
    told = [(r.message, r.__dict__["endpoint"]) for r in caplog.records]
    assert told == [
        ("endpoint is new", "http://10.0.0.2:8000"),
        ("endpoint is gone", "http://10.0.0.1:8000"),
    ]


async def test_an_address_that_is_gone_finishes_what_it_has() -> None:
    async with StubUpstream() as upstream:
        pool = pool_of("dns: {name: 'api.test:8000', interval: 5ms}", dns := Dns("127.0.0.1"))
        async with started(pool):
            [endpoint] = pool.endpoints
            endpoint.address = Address.parse(upstream.url)  # the stub has another port
            idle, busy = await used(endpoint), await endpoint.connect(5.0)
            assert endpoint.idle == 1
            dns.answer = ("10.0.0.2",)
            await until(lambda: names(pool.endpoints) == ["http://10.0.0.2:8000"])
            await until(lambda: idle.transport is None)
            assert pool.open == 1
            busy.begin(bodiless=False, upgrade=False)
            busy.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while await busy.read():
                pass
            endpoint.give_back(busy)
            await until(lambda: pool.open == 0)


async def test_stale_addresses_are_kept_while_dns_fails(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gatelodge.upstream")
    dns = Dns("10.0.0.1")
    async with started(pool_of(NAME, dns)) as pool:
        dns.answer = OSError(-3, "Temporary failure in name resolution")
        await until(lambda: dns.asked > 4)
        assert names(pool.usable) == ["http://10.0.0.1:8000"]
        dns.answer = ("10.0.0.1",)
        seen = dns.asked
        await until(lambda: dns.asked > seen + 1)
    told = [record.message for record in caplog.records]
    assert told == ["dns look-up fails", "dns answers again"]


async def test_without_any_address_there_is_no_endpoint_and_it_says_why() -> None:
    dns = Dns()
    dns.answer = OSError(-2, "Name or service not known")
    async with started(pool_of(NAME, dns)) as pool:
        with pytest.raises(NoEndpoint, match="no address is known: Name or service not known"):
            pool.pick(X)
        dns.answer = ("10.0.0.1",)
        await until(lambda: pool.problem == "")


async def test_a_new_address_is_checked_like_the_first_ones() -> None:
    dns = Dns("127.0.0.1")
    keys = f"{NAME}, health: {{path: /healthz, interval: 5ms}}"
    async with started(pool_of(keys, dns)) as pool:
        dns.answer = ("127.0.0.1", "127.0.0.2")
        await until(lambda: len(pool.endpoints) == 2)
        # Nobody listens there, or not on this port.
        await until(lambda: not any(each.standing.usable for each in pool.endpoints))


# The next configuration.


async def test_the_next_pool_goes_on_with_the_same_endpoints() -> None:
    async with StubUpstream() as one, StubUpstream() as two:
        old = pool_of(f"endpoints: ['{one.url}', '{two.url}'], {EJECT}")
        async with started(old):
            kept, gone = old.endpoints
            connection = await used(kept)
            left = await used(gone)
            keys = f"endpoints: ['http://c:1', {{url: '{one.url}', weight: 3}}], {EJECT}"
            async with started(pool_of(keys), old) as new:
                await old.stop()
                assert new.endpoints[1] is kept
                assert (kept.share, kept.weight, kept.idle) == (3, 3, 1)
                assert kept.take_idle(10.0) is connection
                await until(lambda: left.transport is None)
                for _ in range(3):
                    kept.failed("refused")  # a request of the old generation
                assert names(new.usable) == ["http://c:1"]
                kept.give_back(connection)


async def test_what_is_known_of_an_endpoint_outlives_a_reload() -> None:
    old = pool_of(f"{THREE}, eject: {{failures: 3}}")
    for _ in range(3):
        old.endpoints[0].failed("refused")
    same, other = (f"{THREE}, eject: {{failures: {count}}}" for count in (3, 4))
    async with started(pool_of(same), old) as new:
        assert names(new.usable) == ["http://b:1", "http://c:1"]
        assert new.problem == ""
        async with started(pool_of(other), new) as newest:
            # Other rules would maybe have come to another result.
            assert len(newest.usable) == 3


async def test_other_certificates_need_other_connections(tmp_path: Path) -> None:
    own, other = Authority(tmp_path), Authority(tmp_path, "other")
    async with StubUpstream(tls=own.server()) as upstream:
        text = "endpoints: ['{url}'], tls: {{ca: {ca}}}, eject: {{failures: 3}}"
        old = pool_of(text.format(url=upstream.url, ca=own.ca))
        connection = await used(old.endpoints[0])
        old.endpoints[0].failed("refused")
        async with started(pool_of(text.format(url=upstream.url, ca=other.ca)), old) as new:
            await old.stop()
            [endpoint] = new.endpoints
            assert endpoint is not old.endpoints[0]
            assert endpoint.standing is old.endpoints[0].standing
            await until(lambda: connection.transport is None)


async def test_the_next_pool_knows_the_addresses_while_dns_fails() -> None:
    old = pool_of(NAME, Dns("10.0.0.1"))
    async with started(old):
        away = Dns()
        away.answer = OSError(-3, "Temporary failure in name resolution")
        async with started(pool_of(NAME, away), old) as new:
            assert new.endpoints == old.endpoints
            assert new.problem == ""


async def test_an_upstream_without_https_reads_no_certificates(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    config_of(CONFIG.format(keys=(https := f"endpoints: ['https://a:1'], tls: {{ca: {ca}}}")))
    ca.unlink()
    with pytest.raises(OSError, match="No such file"):
        pool_of(https)
    pool_of("endpoints: ['http://a:1']")


async def test_a_ca_of_its_own_is_the_only_one_that_is_trusted(tmp_path: Path) -> None:
    own, other = Authority(tmp_path), Authority(tmp_path, "other")
    async with StubUpstream(tls=own.server()) as upstream:
        for ca, admitted in ((own.ca, True), (other.ca, False)):
            [endpoint] = pool_of(f"endpoints: ['{upstream.url}'], tls: {{ca: {ca}}}").endpoints
            reason = ""
            try:
                (await endpoint.connect(5.0)).abort()
            except Exception as error:  # noqa: BLE001 - whatever it is, the connection failed
                reason = str(error)
            assert (not reason) is admitted


async def test_an_endpoint_may_ask_for_our_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.ca)
    cert, key = authority.issue("gatelodge.example.test")
    async with StubUpstream(tls=server) as upstream:
        keys = (
            f"endpoints: ['{upstream.url}'], tls: {{ca: {authority.ca}, cert: {cert}, key: {key}}}"
        )
        [endpoint] = pool_of(keys).endpoints
        connection = await endpoint.connect(5.0)
        connection.begin(bodiless=False, upgrade=False)
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer()).status == 200
        connection.abort()
