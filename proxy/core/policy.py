"""What a route asks of the user: to be signed in, and to have roles, claims or an e-mail domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from proxy.core.claims import ClaimPath
from proxy.errors import Forbidden, SessionMissing

if TYPE_CHECKING:
    from proxy.core.identity import Principal

_Scalar = tuple[str, object]
"""A JSON value with its type: `1`, `"1"` and `true` are three things, 1 and 1.0 are one."""


class Policy:
    """The requirements of a route. Each kind that is given must hold; empty ones ask for nothing.

    `roles`: the user has one of them. `claims`: path -> the value, or the values of which the claim
    is one or, being a list, has one. `email_domains`: the address is in one of them exactly.
    """

    __slots__ = ("_claims", "_demands", "_domains", "_key", "_roles", "auth")

    def __init__(
        self,
        auth: Literal["required", "optional", "public"],
        roles: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        email_domains: Iterable[str] = (),
    ) -> None:
        self.auth = auth
        self._roles = frozenset(roles)
        allowed = {path: _allowed(values) for path, values in (claims or {}).items()}
        self._claims = tuple((ClaimPath(path), values) for path, values in allowed.items())
        self._domains = frozenset(domain.lower() for domain in email_domains)
        self._demands = bool(self._roles or self._claims or self._domains)
        self._key = (auth, self._roles, frozenset(allowed.items()), self._domains)

    def admit(self, principal: Principal | None) -> None:
        """Return if `principal`, or nobody (None), may pass.

        Nobody passes where a session is optional, unless the route demands more than being
        somebody. Raises SessionMissing for nobody and Forbidden for somebody, its reason naming the
        requirement.
        """
        if self.auth == "public":
            return
        if principal is None:
            if self.auth == "required" or self._demands:
                raise SessionMissing("the route needs a session")
            return
        if not self._demands:
            return
        if self._roles and self._roles.isdisjoint(principal.roles):
            raise Forbidden("the user has none of the roles that the route requires")
        for path, allowed in self._claims:
            if not _holds(path.read(principal.claims), allowed):
                raise Forbidden(f"the claim {path.path} is not as the route requires")
        if self._domains and _email_domain(principal.email) not in self._domains:
            raise Forbidden("the user's e-mail address is in none of the required domains")

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        kinds = {"roles": self._roles, "claims": self._claims, "email_domains": self._domains}
        return f"<Policy {' '.join([self.auth, *(kind for kind in kinds if kinds[kind])])}>"


def _allowed(values: object) -> frozenset[_Scalar]:
    listed = values if isinstance(values, (list, tuple)) else [values]
    scalars = [_scalar(value) for value in listed]
    if None in scalars:
        raise ValueError("a claim is compared with texts, numbers, true or false")
    return frozenset(scalar for scalar in scalars if scalar is not None)


def _scalar(value: object) -> _Scalar | None:
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, (int, float)):
        return "number", value
    return ("string", value) if isinstance(value, str) else None


def _holds(claim: object, allowed: frozenset[_Scalar]) -> bool:
    values = claim if isinstance(claim, list) else [claim]
    return any(_scalar(value) in allowed for value in values)


def _email_domain(email: str | None) -> str | None:
    """Return the domain of an address, in lower case; None where two readers might see two domains.

    That is where there is more than one `@` (CVE-2026-40574), or anything beyond ASCII, which may
    look like an `@` or become one when it is normalised (GHSA-7rqj-j65f-68wh).
    """
    if email is None or not email.isascii() or email.count("@") != 1:
        return None
    mailbox, _, domain = email.partition("@")
    return domain.lower() if mailbox and domain else None
