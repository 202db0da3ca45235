"""What a session token is, and whether it is valid: the report of `gatelodge token inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.head import RequestHead
from proxy.core.identity import Principal, Verified
from proxy.core.session import Credential, SessionRule
from proxy.core.stored import KIND
from proxy.errors import ProxyError, SessionMissing, SessionStoreDown

STORED = "the key of a session in the database; `gatelodge explain --connect` looks it up"
NO_ID = "the claims hold no id of a user, so the gateway answers 401 session_invalid"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What became of the first credential that is present; `fault` is why it is not valid."""

    credential: Credential | None
    verified: Verified | None
    principal: Principal | None
    fault: ProxyError | None

    def report(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        nobody = NO_ID if self.verified is not None and self.principal is None else None
        return {
            "valid": self.verified is not None,
            "code": None if self.fault is None else self.fault.code,
            "reason": nobody if self.fault is None else self.fault.reason,
            "kind": self._kind,
            "principal": None if self.principal is None else _who(self.principal),
            "claims": {} if self.verified is None else dict(self.verified.claims),
        }

    @property
    def _kind(self) -> str | None:
        if isinstance(self.fault, SessionStoreDown):
            return KIND
        return None if self.verified is None else self.verified.kind


def inspect(
    rules: Iterable[SessionRule], cookies: str | None, bearer: str | None, now: float
) -> Inspection:
    """Judge what a request with these cookies and this bearer presents.

    As in a request, the first session whose credential is present decides. Whether the client uses
    https is not known, so cookies under all names count.
    """
    head = _head(cookies, bearer)
    credential = None
    try:
        rule, credential = _find(rules, head)
        if rule.is_stored(credential):
            rule.check_stored(credential)
            raise SessionStoreDown(STORED)
        verified = rule.verifier.verify(credential.token, credential.name, now)
    except ProxyError as fault:
        return Inspection(credential, None, None, fault)
    return Inspection(credential, verified, rule.reader.read(verified.claims), None)


def _find(rules: Iterable[SessionRule], head: RequestHead) -> tuple[SessionRule, Credential]:
    bearers = False
    for rule in rules:
        bearers |= rule.bearer
        credential = rule.find(head, secure=False)
        if credential is not None:
            return rule, credential
    if head.get(b"authorization") is not None and not bearers:
        raise SessionMissing("there is no session cookie, and `bearer` is not on")
    raise SessionMissing("there is no session cookie and no bearer token")


def _head(cookies: str | None, bearer: str | None) -> RequestHead:
    fields: list[tuple[bytes, bytes]] = []
    if cookies is not None:
        fields.append((b"Cookie", _bytes(cookies)))
    if bearer is not None:
        fields.append((b"Authorization", b"Bearer " + _bytes(bearer)))
    return RequestHead("GET", "/", 1, tuple(fields), "127.0.0.1")


def _bytes(word: str) -> bytes:
    """Return the bytes that the shell passed; those that are not UTF-8 came as surrogates."""
    return word.encode("utf-8", "surrogateescape")


def _who(principal: Principal) -> Mapping[str, Any]:
    return {
        "id": principal.id,
        "email": principal.email,
        "name": principal.name,
        "roles": list(principal.roles),
    }
