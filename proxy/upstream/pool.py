"""The endpoints of one upstream: who they are, and which of them may be used.

What is known of an endpoint outlives a configuration: the next one's pool takes over the endpoints
that are the same (`take_over`), with their connections and with how they do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.config.model import Endpoint as Address
from proxy.core.health import Standing, may_eject, too_many_out
from proxy.core.retry import RetryBudget
from proxy.upstream import resolve
from proxy.upstream.checker import check
from proxy.upstream.endpoint import ConnectSettings, Endpoint
from proxy.upstream.trust import server_name, tls_context, trust
from proxy.upstream.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.config.model import DnsConfig, HealthConfig, UpstreamConfig
    from proxy.upstream.deadlines import Deadlines

    LookUp = Callable[[asyncio.AbstractEventLoop, str, int], Awaitable[Sequence[str]]]

_log = logging.getLogger("gatelodge.upstream")

_TICK: Final = 0.25
"""Seconds between two looks at ejections that end and at weights that rise."""
_TICKS_A_SECOND: Final = 4
_JITTER: Final = 0.1
"""The part of an interval by which chance changes it, so that gateways that were started together
do not ask together.
"""
_FIRST_LOOK_UP: Final = 5.0
"""Seconds that a start waits for DNS; resolv.conf(5) gives a server that long by default."""
_AGAIN: Final = 1.0
"""Seconds until a name is looked up again that has no address yet."""
_TOLD_MAX: Final = 3
"""Endpoints whose reasons are told in one line of the log."""


class Pool(Turns):
    """One upstream. `prepare`, maybe `take_over`, `start`; and `stop` at the end.

    `endpoints` are all there are, `usable` those that get requests.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        *,
        chance: Callable[[], float] = random.random,
        look_up: LookUp | None = None,
    ) -> None:
        super().__init__(config.balance, chance, config.requests)
        self.budget = RetryBudget(config.retry.budget_percent)
        self.name = name
        self.pool_idle = config.pool_idle
        self.tells_own_host = config.host == "upstream"
        self._config = config
        self._loop = loop
        self._deadlines = deadlines
        self._look_up = look_up or resolve.look_up
        self._trust = trust(config)
        self._settings = ConnectSettings(
            pool_idle=config.pool_idle,
            max_connections=config.connections,
            tls=tls_context(config),
            server_name=server_name(config),
            max_pending=config.pending,
        )
        self.tls = self._settings.tls
        self.endpoints = [self._made(each.url, each.weight) for each in config.endpoints]
        self._leaving: list[Endpoint] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._dns_problem = ""
        self._refresh()

    def __repr__(self) -> str:
        return f"<Pool {self.name} {self.endpoints!r}>"

    # Whether it can be used.

    @property
    def is_usable(self) -> bool:
        """Whether a request would be sent anywhere."""
        return bool(self.usable)

    @property
    def problem(self) -> str:
        """Why there is no usable endpoint, "" if there is one."""
        if self.usable:
            return ""
        if not self.endpoints:
            return f"no address is known: {self._dns_problem or 'not looked up yet'}"
        told = [f"{e.name} {e.standing.state}: {e.standing.reason}" for e in self.endpoints]
        more = len(told) - _TOLD_MAX
        return "; ".join(told[:_TOLD_MAX] + ([f"and {more} more"] if more > 0 else []))

    @property
    def open(self) -> int:
        """How many connections there are, those of endpoints that are gone included."""
        self._leaving = [each for each in self._leaving if each.open]
        return sum(each.open for each in (*self.endpoints, *self._leaving))

    # Who the endpoints are.

    def _made(self, address: Address, weight: float) -> Endpoint:
        config = self._config
        endpoint = Endpoint(
            address,
            self._settings,
            self._loop,
            self._deadlines,
            authority=None if config.dns is None else config.dns.name.authority,
            share=weight,
            standing=Standing(config.health, config.eject),
        )
        endpoint.owner = self
        return endpoint

    async def prepare(self) -> None:
        """Find the first addresses, if they come from DNS; where there are none, `problem` says
        why.
        """
        if self._config.dns is None:
            return
        try:
            async with asyncio.timeout(_FIRST_LOOK_UP):
                await self._update()
        except TimeoutError:
            self._dns_fails(f"no answer within {_FIRST_LOOK_UP:g} s")

    def take_over(self, previous: Pool) -> None:
        """Go on with the endpoints of the pool that stood for this upstream until now.

        Those of the same address are the same, with their connections if TLS towards them is the
        same too, and with what is known of them if it was found out by the same rules.
        """
        previous.quit()  # what it found out now, this pool would not hear of
        self.requests, self.budget = previous.requests, previous.budget
        self.budget.percent = self._config.retry.budget_percent
        before = {each.name: each for each in previous.endpoints}
        config, old = self._config, previous._config
        same_name = (
            config.dns is not None and old.dns is not None and config.dns.name == old.dns.name
        )
        if same_name and not self.endpoints:  # DNS fails now, and what was known holds on
            self.endpoints = [self._made(each.address, 1) for each in previous.endpoints]
        for at, new in enumerate(self.endpoints):
            known = before.get(new.name)
            if known is None:
                continue
            if known.standing.is_of(config.health, config.eject):
                new.standing = known.standing
            if self._trust == previous._trust and known.authority == new.authority:
                known.adopt(new)
                known.owner = self
                self.endpoints[at] = known
        gone = [each for each in previous.endpoints if each.owner is not self]
        self._leaving = [*previous._leaving, *gone]
        self._refresh()

    def start(self) -> None:
        """Begin to look after the endpoints: checks, DNS, the ends of ejections."""
        config = self._config
        for endpoint in self.endpoints:
            self._watch(endpoint)
        if config.dns is not None:
            self._tasks["dns"] = self._loop.create_task(self._follow(config.dns))
        self._timer = self._loop.call_later(_TICK, self._tick)

    def quit(self) -> None:
        """Look after nothing any more, from this moment on."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks.values():
            task.cancel()

    async def stop(self) -> None:
        """Look after nothing any more; endpoints that no other pool has taken over leave."""
        self.quit()
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in self.endpoints:
            if endpoint.owner is self:
                endpoint.leave()

    def close_idle(self) -> None:
        """Close the connections that wait for a request."""
        for endpoint in self.endpoints:
            endpoint.close_idle()

    # DNS.

    async def _follow(self, dns: DnsConfig) -> None:
        """Look the name up again and again."""
        while True:
            await asyncio.sleep(self._about(dns.interval if self.endpoints else _AGAIN))
            await self._survive(self._update())

    async def _survive(self, work: Awaitable[None]) -> None:
        """Do some of what is done for ever: a fault of ours must not be the end of it."""
        try:
            await work
        except Exception:  # noqa: BLE001 - the last resort: nobody awaits the task meanwhile
            _log.exception("looking after an upstream failed", extra={"upstream": self.name})

    async def _update(self) -> None:
        dns = self._config.dns
        if dns is None:
            return
        try:
            found = await self._look_up(self._loop, dns.name.host, dns.name.port)
        except OSError as error:
            self._dns_fails(error.strerror or "it cannot be resolved")
            return
        if self._dns_problem:
            _log.info("dns answers again", extra={"upstream": self.name})
        self._dns_problem = ""
        self._set([Address(dns.name.scheme, host, dns.name.port) for host in found])

    def _dns_fails(self, why: str) -> None:
        """Keep what is known: a name server that is away is no reason to cut off a service."""
        if not self._dns_problem:
            extra = {"upstream": self.name, "reason": why, "endpoints_kept": len(self.endpoints)}
            _log.warning("dns look-up fails", extra=extra)
        self._dns_problem = why

    def _set(self, addresses: Sequence[Address]) -> None:
        """Make these the endpoints: new ones begin, those that are gone finish what they have."""
        known = {each.address: each for each in self.endpoints}
        if list(known) == addresses:
            return
        is_first = not self.endpoints
        gone = [each for address, each in known.items() if address not in addresses]
        self.endpoints = [known.get(each) or self._made(each, 1) for each in addresses]
        for endpoint in self.endpoints:
            if endpoint.address not in known:
                if not is_first:
                    self._log_change(endpoint, "endpoint is new", "")
                    endpoint.standing.risen = monotonic()
                if "dns" in self._tasks:
                    self._watch(endpoint)
        for endpoint in gone:
            self._log_change(endpoint, "endpoint is gone", "dns does not name it any more")
            self._unwatch(endpoint)
            endpoint.leave()
        self._leaving = [each for each in self._leaving if each.open] + gone
        self._refresh()

    # How they do.

    def _watch(self, endpoint: Endpoint) -> None:
        health = self._config.health
        if health is not None:
            work = self._keep_checking(endpoint, health)
            self._tasks[endpoint.name] = self._loop.create_task(work)

    def _unwatch(self, endpoint: Endpoint) -> None:
        task = self._tasks.pop(endpoint.name, None)
        if task is not None:
            task.cancel()

    async def _keep_checking(self, endpoint: Endpoint, health: HealthConfig) -> None:
        """Check one endpoint again and again."""
        while True:
            await self._survive(self._check(endpoint, health))
            await asyncio.sleep(self._about(health.interval))

    async def _check(self, endpoint: Endpoint, health: HealthConfig) -> None:
        problem = await check(endpoint, health)
        if endpoint.standing.check(problem, monotonic()):
            event = "endpoint is down" if problem else "endpoint is up"
            self._log_change(endpoint, event, problem)
            self._refresh()

    def _about(self, interval: float) -> float:
        return interval * (1 + _JITTER * (2 * self._chance() - 1))

    def to_eject(self, endpoint: Endpoint, why: str) -> None:
        """Leave `endpoint` out for a while, if not too many are left out already."""
        eject = self._config.eject
        if eject is None or endpoint not in self.endpoints or not endpoint.standing.usable:
            return
        out = sum(not each.standing.usable for each in self.endpoints)
        if may_eject(out, len(self.endpoints), eject.max_percent):
            seconds = endpoint.standing.eject(why, monotonic())
            self._log_change(endpoint, "endpoint is ejected", why, seconds=seconds)
            self._refresh()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK, self._tick)
        self._ticks += 1
        if self._ticks % _TICKS_A_SECOND == 0:
            self.budget.roll(self.requests)
        now = monotonic()
        restored = [each for each in self.endpoints if each.standing.restore(now)]
        for endpoint in restored:
            self._log_change(endpoint, "endpoint is restored", "")
        if restored or any(each.weight != self._weight(each, now) for each in self.usable):
            self._refresh()

    def _weight(self, endpoint: Endpoint, now: float) -> float:
        return endpoint.share * endpoint.standing.pace(self._config.slow_start, now)

    def _refresh(self) -> None:
        """Work out anew who may be used, and by which weight."""
        was_usable = self.is_usable
        self._let_in()
        usable = [each for each in self.endpoints if each.standing.usable]
        if not usable and self._config.panic == "forward":
            usable = self.endpoints
        now = monotonic()
        for each in usable:
            each.weight = self._weight(each, now)
        self.use(usable, self.endpoints)
        if was_usable and not usable:
            extra = {"upstream": self.name, "reason": self.problem}
            _log.error("upstream has no usable endpoint", extra=extra)

    def _let_in(self) -> None:
        """End ejections, the oldest first, where so few others are left that they would not be
        allowed now: an endpoint that fails some requests is better than none.
        """
        eject = self._config.eject
        if eject is None:
            return
        out = sum(not each.standing.usable for each in self.endpoints)
        ejected = [each for each in self.endpoints if each.standing.state == "ejected"]
        while too_many_out(len(ejected), out, len(self.endpoints), eject.max_percent):
            first = min(ejected, key=lambda each: each.standing.until or 0.0)
            ejected.remove(first)
            out -= 1
            first.standing.release(monotonic())
            self._log_change(first, "endpoint is restored", "too few others are left")

    def _log_change(self, endpoint: Endpoint, event: str, why: str, **more: float) -> None:
        extra = {"upstream": self.name, "endpoint": endpoint.name, **more}
        if why:
            extra["reason"] = why
        _log.log(logging.WARNING if why else logging.INFO, event, extra=extra)
