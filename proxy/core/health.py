"""How an endpoint does, from what checks and requests have shown; and whether it may be used.

Two things are known of an endpoint. Active checks say whether it is up: `fall` bad ones in a row
take it out, `rise` good ones bring it back, and the very first one decides alone, so that a gateway
that starts knows at once. Requests that fail say whether to leave it out for a while (Envoy's
outlier detection): `failures` in a row within `window`, and each time in a row it is left out for
longer. Times are time.monotonic, in seconds; nothing here looks at a clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from proxy.config.model import EjectConfig, HealthConfig

State = Literal["up", "down", "ejected"]

EJECTION_MAX: Final = 300.0
"""Seconds; Envoy's max_ejection_time."""
_FIRST_SHARE: Final = 0.1
"""Of its weight, what an endpoint begins with that starts slowly; Envoy's min_weight_percent."""


class Standing:
    """What is known of one endpoint. `reason` says why it is not used, "" while it is.

    `failing` is whether a request has failed since one went well; whoever sees requests go well
    need not tell as long as it is False.
    """

    __slots__ = (
        "_checked",
        "_eject",
        "_ejections",
        "_failures",
        "_health",
        "_is_well",
        "_restored",
        "_streak",
        "_why",
        "_why_ejected",
        "failing",
        "risen",
        "until",
    )

    def __init__(self, health: HealthConfig | None, eject: EjectConfig | None) -> None:
        self._health = health
        self._eject = eject
        self._is_well = True
        self._checked = False
        self._streak = 0
        self._why = ""
        self._failures: deque[float] = deque(maxlen=eject.failures if eject else 1)
        self._why_ejected = ""
        self._ejections = 0
        self._restored = 0.0
        self.failing = False
        self.until: float | None = None
        """When the ejection ends, None when there is none."""
        self.risen: float | None = None
        """Since when it is used again, None when it always was."""

    def __repr__(self) -> str:
        return f"<Standing {self.state}>"

    @property
    def state(self) -> State:
        """In one word; checks go before requests."""
        if not self._is_well:
            return "down"
        return "up" if self.until is None else "ejected"

    @property
    def usable(self) -> bool:
        """Whether requests may go there."""
        return self._is_well and self.until is None

    @property
    def reason(self) -> str:
        """Why it is not used."""
        return "" if self.usable else self._why_ejected if self._is_well else self._why

    def is_of(self, health: HealthConfig | None, eject: EjectConfig | None) -> bool:
        """Whether what is known was found out by these rules."""
        return (self._health, self._eject) == (health, eject)

    def check(self, problem: str, now: float) -> bool:
        """Note an active check, good if there is no `problem`; return whether the state has
        changed.
        """
        if self._health is None:
            return False
        first, self._checked = not self._checked, True
        if (not problem) == self._is_well:
            self._streak = 0
            self._why = problem  # of the last check: what was refused first may hang by now
            return False
        self._streak += 1
        needed = self._health.fall if self._is_well else self._health.rise
        if self._streak < needed and not first:
            return False
        self._streak = 0
        self._is_well, self._why = not problem, problem
        if self._is_well:
            self.risen = now
        return True

    def fail(self, now: float) -> bool:
        """Note a request that failed; return whether the endpoint is to be ejected."""
        if self._eject is None:
            return False
        self.failing = True
        self._failures.append(now)
        if self.until is not None or len(self._failures) < self._eject.failures:
            return False
        return now - self._failures[0] <= self._eject.window

    def errs(self, status: int) -> bool:
        """Whether an answer of this status counts as a request that failed."""
        return status >= 500 and self._eject is not None and self._eject.server_errors

    def succeed(self) -> None:
        """Note a request that went well."""
        self.failing = False
        self._failures.clear()

    def eject(self, why: str, now: float) -> float:
        """Leave the endpoint out; return for how many seconds.

        Each time it is longer by `base`; for each `base` that it has been used since, one time is
        forgotten.
        """
        if self._eject is None:
            raise RuntimeError("nothing is ejected here")
        base = self._eject.base
        if self._ejections:
            self._ejections = max(0, self._ejections - int((now - self._restored) / base))
        self._ejections += 1
        seconds = min(base * self._ejections, max(base, EJECTION_MAX))
        self.until, self._why_ejected = now + seconds, why
        self.succeed()
        return seconds

    def restore(self, now: float) -> bool:
        """End the ejection if its time is over; return whether it was ended."""
        if self.until is None or now < self.until:
            return False
        self.release(now)
        return True

    def release(self, now: float) -> None:
        """End the ejection now."""
        self.until = None
        self.risen = self._restored = now
        self.succeed()  # what failed meanwhile had begun before

    def pace(self, slow_start: float | None, now: float) -> float:
        """Return the part of its weight that the endpoint gets now, 1.0 when it is not slow."""
        if slow_start is None or self.risen is None:
            return 1.0
        passed = (now - self.risen) / slow_start
        return 1.0 if passed >= 1 else max(_FIRST_SHARE, passed)


def may_eject(ejected: int, total: int, max_percent: int) -> bool:
    """Whether one more of `total` endpoints may be ejected, of which `ejected` are."""
    return (ejected + 1) * 100 <= total * max_percent


def too_many_out(ejected: int, out: int, total: int, max_percent: int) -> bool:
    """Whether one of those who are `ejected` must be let in again, as others have gone since: of
    `total` endpoints more are ejected than may be, or nobody is left, with all that are `out`,
    where ejections alone may not bring that about.
    """
    most = total * max_percent
    return ejected > 0 and (ejected * 100 > most or (out == total and out * 100 > most))
