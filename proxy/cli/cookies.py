"""The cookies of a request that are not its session, and why each is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.core.cookies import CookieNames, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.core.routing import Route
    from proxy.core.session import Credential, SessionRule

_SECURE: Final = "__Secure-"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A cookie that does not count."""

    name: str
    reason: str


class CookieReader:
    """Tells why cookies do not count, for one route and what was found there.

    `secure`: the client uses https. `found`: the credential, or None if there is none or it was
    refused.
    """

    def __init__(
        self,
        sessions: Mapping[str, SessionRule],
        route: Route,
        found: Credential | None,
        *,
        secure: bool,
    ) -> None:
        self._owners = {name: CookieNames(rule.cookie_names) for name, rule in sessions.items()}
        self._route = route
        self._found = found
        self._secure = secure

    def ignored(self, header: bytes) -> list[Ignored]:
        """Return the cookies of a Cookie header that do not count, in their order."""
        pairs = parse(header)
        present = {name.decode("latin-1") for name, value in pairs if value}
        listed = []
        for raw, value in pairs:
            name = raw.decode("latin-1")
            reason = (
                self._reason(name, present) if value or not self._bases(name) else "it is empty"
            )
            if reason is not None:
                listed.append(Ignored(name, reason))
        return list(dict.fromkeys(listed))

    def _bases(self, name: str) -> dict[str, str]:
        """Return session -> base name, for the sessions whose cookie or chunk this name is."""
        slots = {
            session: (names.names, names.slot(name.encode("latin-1")))
            for session, names in self._owners.items()
        }
        return {s: names[slot.rank] for s, (names, slot) in slots.items() if slot is not None}

    def _reason(self, name: str, present: set[str]) -> str | None:
        """Return why a cookie that is not empty does not count; None if it does, or is itself
        the fault.
        """
        bases = self._bases(name)
        if not bases:
            return "no session has a cookie of this name"
        if self._route.policy.auth == "public":
            return "the route is public, so nobody looks"
        counting = [session for session in self._route.sessions if session in bases]
        if not counting:
            return f"the route does not use the session {' or '.join(bases)}"
        base = bases[counting[0]]
        found = self._found
        if found is not None and (found.session, found.name) == (counting[0], base):
            return None
        if self._is_passed_over(base, counting[0], present):
            return f"over https, or where {_SECURE}{base} is there, only that one counts"
        if found is None:
            return None
        before = "the bearer token" if found.source == "bearer" else found.name
        return f"{before} (session {found.session}) comes first"

    def _is_passed_over(self, base: str, session: str, present: set[str]) -> bool:
        """Whether `base` is the plain twin of a name that alone counts here (`core/cookies.py`)."""
        names = self._owners[session].names
        if _SECURE + base not in names:
            return False
        secure_names = [name for name in names if name.startswith(_SECURE)]
        return self._secure or any(
            name in present or f"{name}.0" in present for name in secure_names
        )
