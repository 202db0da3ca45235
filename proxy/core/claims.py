"""Verified claims: when they stop counting, and where in them a value is found.

Facts: Auth.js, through jose, gives every time check 15 s of tolerance: a token is expired when `exp
<= now - 15` and not yet valid when `nbf > now + 15` (`clockTolerance: 15` in jwt.ts of @auth/core
and of next-auth 4). The framework takes a token without `exp` for one that never ends; we refuse
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.errors import SessionExpired, SessionInvalid

TOLERANCE: Final = 15.0
"""Seconds by which two machines' clocks may differ before it matters."""

# The integers that JavaScript can hold exactly end here, and the frameworks are written in it. A
# larger time is a mistake or an attack, and a float that is compared with it would not be exact.
_TIME_MAX: Final = 2**53


def check_times(
    claims: Mapping[str, Any],
    now: float,
    *,
    tolerance: float = TOLERANCE,
    max_age: float | None = None,
) -> float:
    """Judge `exp`, `nbf` and `iat`; return the unix time at which the session ends, tolerance not
    added.

    `max_age` in seconds counts from `iat` and makes `iat` compulsory. Raises SessionExpired for a
    session that was good once, SessionInvalid for one that is not good yet or whose times are
    missing or no numbers.
    """
    expires = _time(claims, "exp")
    issued = _time(claims, "iat")
    starts = _time(claims, "nbf")
    if expires is None:
        raise SessionInvalid("the token has no exp, so it would never end")
    if expires <= now - tolerance:
        raise SessionExpired("exp has passed")
    if starts is not None and starts > now + tolerance:
        raise SessionInvalid("nbf has not come yet")
    if max_age is None:
        return expires
    return min(expires, _age_limit(issued, now, tolerance, max_age))


def _age_limit(issued: float | None, now: float, tolerance: float, max_age: float) -> float:
    # As jose's maxTokenAge: an age that is beyond the limit by more than the tolerance is refused.
    if issued is None:
        raise SessionInvalid("max_age is set and the token has no iat")
    if issued > now + tolerance:
        raise SessionInvalid("iat is in the future")
    if issued < now - max_age - tolerance:
        raise SessionExpired("the token is older than max_age")
    return issued + max_age


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SessionInvalid(f"{name} is not a number")
    if not -_TIME_MAX <= value <= _TIME_MAX:  # NaN fails this too
        raise SessionInvalid(f"{name} is not a time")
    return float(value)


class ClaimPath:
    """Where a claim is: `sub`, or `user.role` for a member of a member.

    A member whose own name holds dots ("https://example.com/roles") wins over the nested reading,
    at every level.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, claims: Mapping[str, Any]) -> Any:
        """Return the value, or None if there is none or it is null."""
        node: Any = claims
        rest = self.path
        while isinstance(node, Mapping):
            if rest in node:
                return node[rest]
            first, _, rest = rest.partition(".")
            if not rest or first not in node:
                return None
            node = node[first]
        return None

    def __repr__(self) -> str:
        return f"ClaimPath({self.path!r})"
