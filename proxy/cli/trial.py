"""One request judged as the gateway would judge it: by the same rules and the same `decide`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.core.client import Client
from proxy.core.decision import Permit, Reply, decide
from proxy.core.exchange import Exchange
from proxy.errors import ProxyError

if TYPE_CHECKING:
    from proxy.core.decision import Resolve
    from proxy.core.head import RequestHead
    from proxy.core.rules import Rules
    from proxy.core.session import Credential, Session

Outcome = Permit | Reply | ProxyError


@dataclass(slots=True)
class Trial:
    """What came of a request. `finding` is what the credential turned out to be, if one was
    looked at.
    """

    x: Exchange
    outcome: Outcome
    finding: Session | ProxyError | None

    @property
    def status(self) -> int:
        """The status of our own answer; 200 stands for "forwarded"."""
        return 200 if isinstance(self.outcome, Permit) else self.outcome.status


async def attempt(rules: Rules, head: RequestHead, resolve: Resolve, now: float) -> Trial:
    """Judge `head` at the Unix time `now`."""
    seed = secrets.token_hex(24)
    client = Client(head.peer, "https" if head.tls else "http", trusted=False)
    x = Exchange(head, client, rules.cors, now, 0.0, seed, request_id=seed[:32])
    trial = Trial(x, ProxyError(), None)

    async def watched(credential: Credential, at: float) -> Session:
        try:
            session = await resolve(credential, at)
        except ProxyError as error:
            trial.finding = error
            raise
        trial.finding = session
        return session

    try:
        trial.outcome = await decide(x, rules, watched)
    except ProxyError as error:
        trial.outcome = error
    return trial
