"""Whose a credential is: the window through which a decision looks outside.

A verified session is remembered until it ends, at most `cache.ttl`; see `session/memory.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proxy.session.memory import Memory

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session
    from proxy.session.store import Store
    from proxy.telemetry.metrics import Metrics


class Resolver:
    """Resolves credentials for one configuration.

    `stores` are those of its sessions, by name; a session without the store that it should have
    cannot be looked up.
    """

    def __init__(
        self,
        config: Config,
        rules: Rules,
        metrics: Metrics,
        stores: Mapping[str, Store] | None = None,
    ) -> None:
        stores = stores or {}
        self._memories = {
            name: Memory(
                rules.sessions[name],
                stores.get(name),
                session.cache.ttl,
                session.cache.entries,
                metrics,
            )
            for name, session in config.sessions.items()
        }

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
