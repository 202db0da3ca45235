"""Whose a credential is: the window through which a decision looks outside.

A verified token is remembered until its session ends, at most `cache.ttl`. There is one memory for
each configured session, because what one secret accepts another must not (CVE-2026-33496).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachebox import LRUCache

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session, SessionRule
    from proxy.telemetry.metrics import Metrics


class Resolver:
    """Resolves credentials for one configuration."""

    def __init__(self, config: Config, rules: Rules, metrics: Metrics) -> None:
        self._remembered = {
            name: Remembered(
                rules.sessions[name], session.cache.ttl, session.cache.entries, metrics
            )
            for name, session in config.sessions.items()
        }

    async def resolve(self, credential: Credential, now: float) -> Session:
        """Return the session of `credential` at the Unix time `now`. Raises SessionInvalid and
        SessionExpired.
        """
        return self._remembered[credential.session].find(credential, now)

    def recall(self, credential: Credential, now: float) -> Session | None:
        """Return the session of `credential` if it is remembered and may be used at the Unix time
        `now`. Whoever uses it counts it (`session_cache_hits`).
        """
        return self._remembered[credential.session].recall(credential, now)


class Remembered:
    """One configured session: its verifier, and what it has verified lately (`ttl` in seconds,
    0: nothing).
    """

    def __init__(self, rule: SessionRule, ttl: float, entries: int, metrics: Metrics) -> None:
        self._rule = rule
        self._ttl = ttl
        self._metrics = metrics
        self._sessions: LRUCache[bytes, tuple[float, Session]] = LRUCache(entries)

    def recall(self, credential: Credential, now: float) -> Session | None:
        """Return the session if memory holds it and it is fresh. Not counted as a use of it."""
        known = self._sessions.get(credential.digest)
        return None if known is None or now >= known[0] else known[1]

    def find(self, credential: Credential, now: float) -> Session:
        """Return the session, from memory while that is fresh. Raises SessionInvalid and
        SessionExpired.
        """
        if not self._ttl:
            return self._rule.verify(credential, now)
        known = self.recall(credential, now)
        if known is not None:
            self._metrics.session_cache_hits += 1
            return known
        self._metrics.session_cache_misses += 1
        session = self._rule.verify(credential, now)
        until = now + self._ttl
        if session.expires is not None:
            until = min(until, session.expires)
        if until > now:
            self._sessions[credential.digest] = (until, session)
        return session
