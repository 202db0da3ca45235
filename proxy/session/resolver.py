"""Whose a credential is: the window through which a decision looks outside.

A verified session is remembered until it ends, at most `cache.ttl`; see `session/memory.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proxy.session.memory import Memory

if TYPE_CHECKING:
    from proxy.config.model import Config, SessionConfig
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics


class Resolver:
    """Resolves credentials for one configuration.

    `stores` are those of its sessions, by name; a session without the store that it should have
    cannot be looked up. What the resolver `before` has verified is remembered for the sessions that
    are configured as they were, their secrets included, and that ask the same store.
    """

    def __init__(
        self,
        config: Config,
        rules: Rules,
        metrics: Metrics,
        stores: Mapping[str, Store] | None = None,
        before: Resolver | None = None,
    ) -> None:
        self._config = config.sessions
        self._stores = stores or {}
        self._memories = {
            name: (before and before._kept(name, session, self._stores.get(name)))
            or Memory(
                rules.sessions[name],
                self._stores.get(name),
                session.cache.ttl,
                session.cache.entries,
                metrics,
            )
            for name, session in config.sessions.items()
        }

    def __repr__(self) -> str:
        return f"<Resolver {list(self._memories)}>"

    def _kept(self, name: str, session: SessionConfig, store: Store | None) -> Memory | None:
        """Return the memory of a session if all that it depends on is the same."""
        same = self._config.get(name) == session and self._stores.get(name) is store
        return self._memories[name] if same else None

    async def resolve(self, credential: Credential, now: float) -> Session:
        """Return the session of `credential` at the Unix time `now`. Raises SessionInvalid,
        SessionExpired and SessionStoreDown.
        """
        memory = self._memories[credential.session]
        session = memory.find(credential, now)
        return await memory.look_up(credential, now) if session is None else session

    def recall(self, credential: Credential, now: float) -> Session | None:
        """Return the session of `credential` if it is remembered and may be used at the Unix time
        `now`. Whoever uses it counts it (`session_cache_hits`).
        """
        return self._memories[credential.session].recall(credential, now)
