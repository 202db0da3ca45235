"""The demo's sessions: what both kinds have in common, and those of the JWT strategy."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from proxy.core.authjs import AuthjsVerifier
from proxy.core.mint import ENTROPY_BYTES, mint
from proxy.demo.people import Person
from proxy.errors import Unauthorized

COOKIE: Final = "authjs.session-token"
"""The cookie of Auth.js v5 over http; over https its name begins with `__Secure-`."""

LIFETIME: Final = 3600
"""Seconds that a good session lasts."""


class Sessions(Protocol):
    """One of the two ways in which Auth.js keeps a session (its `session.strategy`)."""

    @property
    def flaws(self) -> Sequence[str]:
        """What can be wrong with one, beside `none`."""

    async def make(self, person: Person, flaw: str) -> str:
        """Return the token of a new session of `person`, with a flaw or with `none`."""

    async def describe(self, token: str) -> dict[str, Any]:
        """Return who is signed in (`user`), or what is wrong with it (`code`), for JSON."""

    async def end(self, token: str) -> bool:
        """End the session now, for everybody who has its token; say whether that was possible."""


class JwtSessions:
    """The session is in the cookie, encrypted with a secret that the demo's gateway knows too."""

    flaws = ("expired", "tampered", "foreign")
    """It has ended; one character was changed; it was made with another secret."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock
        self._verifier = AuthjsVerifier([secret], [COOKIE])

    def __repr__(self) -> str:
        return "<JwtSessions>"

    async def make(self, person: Person, flaw: str) -> str:
        issued = self._clock() - (2 * LIFETIME if flaw == "expired" else 0)
        token = mint(
            person.claims(),
            COOKIE,
            issued,
            secret=secrets.token_urlsafe(32) if flaw == "foreign" else self._secret,
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            ttl=LIFETIME,
        )
        return _tampered(token) if flaw == "tampered" else token

    async def describe(self, token: str) -> dict[str, Any]:
        try:
            claims = self._verifier.verify(token, COOKIE, self._clock()).claims
        except Unauthorized as refusal:
            return {"user": None, "code": refusal.code}
        user = {"id": claims["sub"], "name": claims["name"], "role": claims["role"]}
        return {"user": user, "code": None}

    async def end(self, token: str) -> bool:
        """Say that it is not possible: whoever has the token has all that there is."""
        del token
        return False


def _tampered(token: str) -> str:
    """Return the token with one character of its ciphertext changed."""
    header, key, iv, ciphertext, tag = token.split(".")
    return ".".join((header, key, iv, changed_in_the_middle(ciphertext), tag))


def changed_in_the_middle(text: str) -> str:
    """Return the text with another character in its middle."""
    middle = len(text) // 2
    other = "a" if text[middle] != "a" else "b"
    return text[:middle] + other + text[middle + 1 :]
