"""The keys that may open an encrypted session token, and which of them is tried.

A token that names its key by `kid` is tried with that key only, as in Auth.js; one without is tried
with every key of its cipher, the current secret's first. Auth.js itself tries only the current
secret then; trying the others too is what lets a secret be replaced without signing anybody out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.jwe import CBC, GCM, ContentKey, Sealed
from proxy.core.schedules import AUTHJS_V5, Schedule, derive, fits, thumbprint
from proxy.errors import SessionInvalid


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A key, and the kind of the tokens that it opens."""

    kind: str
    key: ContentKey


class KeyRing:
    """Keys in the order in which they are tried, and the keys by name.

    With `named` None the tokens' own `kid` means nothing.
    """

    def __init__(self, keys: Iterable[SessionKey], named: Mapping[str, SessionKey] | None) -> None:
        keys = tuple(keys)
        self._by_enc: Mapping[str, Sequence[SessionKey]] = {
            enc: tuple(key for key in keys if key.key.enc == enc) for enc in (GCM, CBC)
        }
        self._named = named

    def open(self, sealed: Sealed) -> tuple[bytes, str]:
        """Return the plaintext and the token's kind. Raises SessionInvalid if no key opens it."""
        for candidate in self._candidates(sealed):
            plaintext = candidate.key.open(sealed)
            if plaintext is not None:
                return plaintext, candidate.kind
        raise SessionInvalid("no key opens the token: another secret or cookie name, or changed")

    def _candidates(self, sealed: Sealed) -> Sequence[SessionKey]:
        if sealed.kid is None or self._named is None:
            return self._by_enc[sealed.enc]
        named = self._named.get(sealed.kid)
        if named is None:
            raise SessionInvalid("the token's kid names no key: another secret or cookie name")
        return (named,)

    def __repr__(self) -> str:
        return f"<KeyRing {sum(map(len, self._by_enc.values()))} keys>"


def derived_ring(
    secrets: Iterable[str], cookie_names: Iterable[str], schedules: Iterable[Schedule]
) -> KeyRing:
    """Return the keys that `schedules` make of `secrets` for cookies with these base names."""
    names = tuple(cookie_names)
    keys: dict[tuple[str, Schedule, str], SessionKey] = {}
    named: dict[str, SessionKey] = {}
    for secret in secrets:
        for schedule in schedules:
            for name in names:
                place = (secret, schedule, name if schedule.salted else "")
                if place in keys or not fits(schedule, name):
                    continue
                raw = derive(secret, schedule, name)
                keys[place] = SessionKey(schedule.kind, ContentKey(schedule.enc, raw))
                if schedule.enc == CBC:
                    named[thumbprint(raw)] = SessionKey(AUTHJS_V5, ContentKey(CBC, raw))
    return KeyRing(keys.values(), named)
