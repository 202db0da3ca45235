"""What is remembered of one configured session: who was verified lately, who was not, and who is
being asked about.

There is a memory for each session, because what one secret or database accepts another must not
(CVE-2026-33496). Within it a credential is known by the SHA-256 of its cookie's name and its token.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cachebox import LRUCache

from proxy.core.session import Session
from proxy.errors import SessionStoreDown, Unauthorized

if TYPE_CHECKING:
    from proxy.core.session import Credential, SessionRule
    from proxy.core.stored import Row
    from proxy.errors import ProxyError
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics

REFUSED_SECONDS: Final = 1.0
"""The longest that a refusal is believed: somebody may be signing in with this very token."""
REFUSED_MAX: Final = 4096
"""Refusals remembered, apart from the sessions: who makes up tokens drives nobody else out."""
FLIGHTS_MAX: Final = 4096
"""Look-ups that may be under way or wait for a connection. Who hangs up ends none, so the number of
clients is no bound; and what waits behind so many would time out anyway.
"""
ENTRY_CHARS: Final = 1024
"""Characters of a token, or of a row, for which a session counts as one entry: claims take memory
in proportion, and whoever may choose their own name or picture chooses how much.
"""

CLOCK_BACK_MAX: Final = 1.0
"""Seconds by which the clock may be set back. If it were more, what was remembered before would be
believed for so much longer than `ttl`; it is not, but asked about anew.
"""

_Entry = tuple[float, float, Session, int]
"""The Unix times from which and until which the session is believed, the session, and how many
entries it fills.
"""
_Refusal = tuple[float, float, Unauthorized]
"""The Unix times from which and until which it is believed."""

NOT_ASKED: Final = "the database is not asked here"
TOO_MANY: Final = "too many look-ups are under way"


class Memory:
    """One configured session: its rule, its store if it has one, and what it has verified lately
    (`ttl` in seconds, 0: nothing).
    """

    def __init__(
        self, rule: SessionRule, store: Store | None, ttl: float, entries: int, metrics: Metrics
    ) -> None:
        self._rule = rule
        self._store = store
        self._ttl = ttl
        self._metrics = metrics
        self._entries = entries
        self._sessions: LRUCache[bytes, _Entry] = LRUCache(entries, getsizeof=_weight)
        self._refused: LRUCache[bytes, _Refusal] = LRUCache(REFUSED_MAX)
        self._flights: dict[bytes, asyncio.Task[Session | ProxyError]] = {}

    def __repr__(self) -> str:
        return f"<Memory of {self._rule.name} flights={len(self._flights)}>"

    def recall(self, credential: Credential, now: float) -> Session | None:
        """Return the session if memory holds it and it is fresh. Not counted as a use of it."""
        known = self._sessions.get(credential.digest)
        if known is not None and known[0] <= now < known[1]:
            return known[2]
        return None

    def find(self, credential: Credential, now: float) -> Session | None:
        """Return the session, from memory while that is fresh; None if the store is to be asked.

        Raises SessionInvalid and SessionExpired.
        """
        known = self.recall(credential, now)
        if known is not None:
            self._metrics.session_cache_hits += 1
            return known
        if self._rule.is_stored(credential):
            return None
        if self._ttl:
            self._metrics.session_cache_misses += 1
        session = self._rule.verify(credential, now)
        self._remember(credential, session, now, len(credential.token))
        return session

    async def look_up(self, credential: Credential, now: float) -> Session:
        """Return the session that the store holds.

        Whoever asks for a token that is being asked about waits for the same answer. The question
        is a task of its own: that one of those who wait goes away ends it for nobody.

        Raises SessionInvalid, SessionExpired and SessionStoreDown.
        """
        self._rule.check_stored(credential)
        if self._store is None:
            raise SessionStoreDown(NOT_ASKED)
        refusal = self._refused.get(credential.digest)
        if refusal is not None and refusal[0] <= now < refusal[1]:
            self._metrics.session_cache_refusals += 1
            raise _again(refusal[2])
        flight = self._flights.get(credential.digest)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX:
                raise SessionStoreDown(TOO_MANY)
            self._metrics.session_cache_misses += 1
            asked = self._ask(self._store, credential, now)
            flight = asyncio.get_running_loop().create_task(asked)
            self._flights[credential.digest] = flight
            flight.add_done_callback(lambda _: self._flights.pop(credential.digest))
        else:
            self._metrics.session_cache_joined += 1
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Session):
            return outcome
        raise _again(outcome)

    async def _ask(self, store: Store, credential: Credential, now: float) -> Session | ProxyError:
        """Ask the store, and remember the answer; what went wrong is returned, for all who wait."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            rows = await store.fetch(credential.token)
        except SessionStoreDown as error:
            return error
        finally:
            self._metrics.session_store_seconds.observe(loop.time() - started)
        try:
            session = self._rule.admit(credential, rows, now)
        except Unauthorized as error:
            error.settle()  # thousands are kept, and each would keep what it was raised from
            until = now + min(self._ttl, REFUSED_SECONDS)
            self._refused[credential.digest] = (now - CLOCK_BACK_MAX, until, error)
            return error
        self._remember(credential, session, now, sum(map(_chars, rows)))
        return session

    def _remember(self, credential: Credential, session: Session, now: float, chars: int) -> None:
        until = now + self._ttl
        if session.expires is not None:
            until = min(until, session.expires)
        weight = 1 + chars // ENTRY_CHARS
        if until > now and weight <= self._entries:
            self._sessions[credential.digest] = (now - CLOCK_BACK_MAX, until, session, weight)


def _weight(_digest: bytes, entry: _Entry) -> int:
    return entry[3]


def _chars(row: Row) -> int:
    texts = (row.token, row.id, row.name, row.email, row.image, *row.more)
    return sum(len(text) for text in texts if text is not None)


def _again(error: ProxyError) -> ProxyError:
    """Return the error anew: one that many raise would gather the tracebacks of them all."""
    return type(error)(error.reason)
