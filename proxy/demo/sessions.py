"""The demo's session cookies: good ones, and ones with a flaw that the gateway must find."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from proxy.core.authjs import AuthjsVerifier
from proxy.core.mint import ENTROPY_BYTES, mint
from proxy.demo.people import Person
from proxy.errors import Unauthorized

COOKIE: Final = "authjs.session-token"
"""The cookie of Auth.js v5 over http; over https its name begins with `__Secure-`."""

LIFETIME: Final = 3600
"""Seconds that a good session lasts."""

FLAWS: Final = ("none", "expired", "tampered", "foreign")
"""What can be wrong: nothing, it has ended, one character was changed, another secret made it."""


class DemoSessions:
    """Makes and reads sessions with the secret that the demo's gateway knows as well."""

    def __init__(self, secret: str, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock
        self._verifier = AuthjsVerifier([secret], [COOKIE])

    def __repr__(self) -> str:
        return "<DemoSessions>"

    def token(self, person: Person, flaw: str = "none") -> str:
        """Return a session of `person` with one of FLAWS."""
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

    def describe(self, token: str | None) -> dict[str, Any]:
        """Return who is signed in (`user`), or what is wrong with the session (`code`), for JSON.

        Without a token both are None: nobody is signed in, and that is all right.
        """
        if token is None:
            return {"user": None, "code": None}
        try:
            claims = self._verifier.verify(token, COOKIE, self._clock()).claims
        except Unauthorized as refusal:
            return {"user": None, "code": refusal.code}
        user = {"id": claims["sub"], "name": claims["name"], "roles": claims["roles"]}
        return {"user": user, "code": None}


def _tampered(token: str) -> str:
    """Return the token with one character of its ciphertext changed."""
    header, key, iv, ciphertext, tag = token.split(".")
    middle = len(ciphertext) // 2
    other = "A" if ciphertext[middle] != "A" else "B"
    changed = ciphertext[:middle] + other + ciphertext[middle + 1 :]
    return ".".join((header, key, iv, changed, tag))
