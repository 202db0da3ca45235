"""Sessions that a database holds: which tokens may be asked for, and what a row says.

Facts: Auth.js stores the token as it is, `crypto.randomUUID()` unless the app's
`generateSessionToken` says otherwise, and takes a session for expired when `expires < now`, without
the tolerance that tokens have (`lib/actions/session.ts` of @auth/core).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from proxy.core.catalog import Clock
from proxy.core.identity import Verified
from proxy.errors import SessionExpired, SessionInvalid

KIND: Final = "database"
TOKEN_CHARS_MAX: Final = 255
"""What the adapters' narrowest column holds, varchar(255)."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=:-]+", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,20})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """A session with its user. `expires` is Unix time, None if it cannot be read as one; `more` are
    the further columns, as JSON.
    """

    token: str = field(repr=False)
    expires: float | None = field(repr=False)
    id: str | None = field(repr=False)
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    image: str | None = field(repr=False)
    more: tuple[str | None, ...] = field(repr=False, default=())


def read_row(values: Sequence[Any], clock: Clock) -> Row:
    """Return the row that the statement's columns make, in their order."""
    token, end, identity, name, email, image, *more = values
    if clock == "milliseconds":
        end = float(end) / 1000 if end is not None and _NUMBER.fullmatch(end) else None
    return Row(token, end, identity, name, email, image, tuple(more))


class StoredSessions:
    """Judges the tokens of one session that has a database.

    `columns` are the names of the rows' further columns; `alone`: there are no other tokens, since
    the session has no key to verify one with.
    """

    def __init__(self, columns: Sequence[str], *, alone: bool) -> None:
        self._columns = tuple(columns)
        self.alone = alone

    def __repr__(self) -> str:
        return f"<StoredSessions alone={self.alone}>"

    def owns(self, token: str) -> bool:
        """Say whether the token is a row's key: those of JWTs have three parts, or five."""
        return self.alone or token.count(".") not in (2, 4)

    def check(self, token: str) -> None:
        """Raise SessionInvalid for what no session is stored under, before anybody is asked."""
        if len(token) > TOKEN_CHARS_MAX:
            hint = "; it looks like a JWT, and the session has no secret"
            is_jwt = self.alone and token.count(".") in (2, 4)
            raise SessionInvalid(
                f"longer than the key of a stored session can be{hint if is_jwt else ''}"
            )
        if not _TOKEN.fullmatch(token):
            raise SessionInvalid("it holds characters that no session token has")

    def judge(self, rows: Sequence[Row], token: str, now: float) -> Verified:
        """Return what the row of `token` says. Raises SessionInvalid and SessionExpired."""
        if not rows:
            raise SessionInvalid("the database has no session of this token")
        if len(rows) > 1:
            raise SessionInvalid("the database has several sessions of this token")
        [row] = rows
        if not hmac.compare_digest(row.token.encode(), token.encode()):
            # A column may compare without regard to case; a secret is what it is.
            raise SessionInvalid("the database has no session of this very token")
        if row.id is None:
            raise SessionInvalid("the session has no user, or one that is gone")
        if row.expires is None:
            raise SessionInvalid("the session's expires is null, or no time")
        if row.expires < now:
            raise SessionExpired("expires has passed")
        expires = row.expires if isfinite(row.expires) else None
        return Verified(self._claims(row), KIND, expires)

    def _claims(self, row: Row) -> dict[str, Any]:
        claims = {"sub": row.id, "id": row.id}
        known = {"name": row.name, "email": row.email, "image": row.image}
        more = zip(self._columns, map(_read, row.more), strict=True)
        found = {**claims, **known, **dict(more)}
        return {name: value for name, value in found.items() if value is not None}


def _read(text: str | None) -> Any:
    """Return a column's value; None for one that is null or that cannot be read."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
