"""One configured session, compiled: what a request presents for it, and whose that is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.config.model import SessionConfig
from proxy.core.authjs import ANY_COOKIE, AuthjsVerifier
from proxy.core.cookies import AUTO, CookieFinder, decode_value
from proxy.core.head import RequestHead
from proxy.core.identity import IdentityHeaders, Principal, PrincipalReader, Verified
from proxy.core.stored import Row, StoredSessions
from proxy.errors import SessionInvalid

# RFC 9110 section 11.2. Every token that a framework makes is one.
_TOKEN68: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)

# Cookie headers remembered: at most 8 MiB of them, and none that is larger than browsers' are.
_SEEN_MAX: Final = 2048
_SEEN_BYTES_MAX: Final = 4096

_LINES_MAX: Final = 64
"""Sets of identity headers that a session keeps its lines for: each generation of the configuration
has its own, and a session may outlive many.
"""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a client presented for a session, not yet verified.

    `session` is the session's name in the configuration, `name` the base name of the cookie, or ""
    for a bearer. `digest` is a SHA-256 of name and token: two credentials of one session with the
    same digest are the same.
    """

    session: str
    source: Literal["cookie", "bearer"]
    name: str
    token: str = field(repr=False)
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The name is part of it: it is the salt of the key that the token is decrypted with.
        said = f"{self.name}\0{self.token}".encode()
        object.__setattr__(self, "digest", hashlib.sha256(said).digest())


@dataclass(frozen=True, slots=True)
class Session:
    """A verified login. `expires` is the unix time at which it ends, or None if it has no end."""

    principal: Principal
    kind: str
    expires: float | None
    _lines: dict[IdentityHeaders, bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def identity_lines(self, headers: IdentityHeaders) -> bytes:
        """Return the header lines that tell an upstream of the principal.

        They are made once for each set of headers, since a session is used again and again.
        """
        lines = self._lines.get(headers)
        if lines is None:
            if len(self._lines) >= _LINES_MAX:
                self._lines.clear()
            lines = self._lines[headers] = headers.lines(self.principal)
        return lines


@dataclass(frozen=True, slots=True)
class SessionRule:
    """How one session is found in a request and verified.

    `cookie_names` are the base names of its cookie, `stored` judges the tokens of a database.
    """

    name: str
    cookie_names: tuple[str, ...]
    bearer: bool
    finder: CookieFinder = field(repr=False)
    verifier: AuthjsVerifier = field(repr=False)
    reader: PrincipalReader = field(repr=False)
    stored: StoredSessions | None = field(default=None, repr=False)
    _seen: dict[tuple[bytes, bool], Credential | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def compile(cls, name: str, config: SessionConfig) -> SessionRule:
        """Return the rule for a session of the configuration.

        Raises ValueError for keys, algorithms or a cookie name that cannot be used.
        """
        cookie_names = AUTO if config.cookie == "auto" else (config.cookie,)
        secrets = [secret.get_secret_value() for secret in config.secret]
        stored = None
        if config.database is not None:
            stored = StoredSessions(config.database.columns, alone=not config.takes_jwts)
        return cls(
            name=name,
            cookie_names=cookie_names,
            bearer=config.bearer,
            finder=CookieFinder(cookie_names),
            verifier=AuthjsVerifier(secrets, cookie_names, max_age=config.max_age, jwt=config.jwt),
            reader=PrincipalReader(config.principal),
            stored=stored,
        )

    def find(self, head: RequestHead, secure: bool) -> Credential | None:
        """Return what the request presents: the cookie, else the bearer, else None.

        `secure` says that the client uses https. Raises SessionAmbiguous, SessionInvalid,
        BadCookie, and BadRequest for two Authorization headers.
        """
        cookies = head.get(b"cookie")
        if cookies is not None:
            key = (cookies, secure)
            credential = self._seen[key] if key in self._seen else self._find_cookie(key)
            if credential is not None:
                return credential
        return self._find_bearer(head) if self.bearer else None

    def _find_cookie(self, key: tuple[bytes, bool]) -> Credential | None:
        """Look for the cookie, and remember what was found: a browser sends the same header each
        time.
        """
        cookies, secure = key
        found = self.finder.find(cookies, secure=secure)
        credential = None
        if found is not None:
            credential = Credential(self.name, "cookie", found.name, found.token)
        if len(self._seen) >= _SEEN_MAX:
            self._seen.clear()
        if len(cookies) <= _SEEN_BYTES_MAX:
            self._seen[key] = credential
        return credential

    def _find_bearer(self, head: RequestHead) -> Credential | None:
        # RFC 6750 section 2.1. The frameworks decode escapes here too (`getToken`).
        scheme, _, value = (head.get(b"authorization") or b"").partition(b" ")
        value = value.strip(b" \t")
        if scheme.lower() != b"bearer" or not value:
            return None
        token = decode_value(value)
        if not _TOKEN68.fullmatch(token):
            raise SessionInvalid("the bearer is no token")
        return Credential(self.name, "bearer", ANY_COOKIE, token)

    def is_stored(self, credential: Credential) -> bool:
        """Say whether a credential that `find` returned is the key of a row in the database."""
        return self.stored is not None and self.stored.owns(credential.token)

    def verify(self, credential: Credential, now: float) -> Session:
        """Return the session behind a credential that is not stored.

        Raises SessionExpired, and SessionInvalid with a reason for the log.
        """
        return self.session_of(self.verifier.verify(credential.token, credential.name, now))

    def check_stored(self, credential: Credential) -> None:
        """Raise SessionInvalid for a credential that no database needs to be asked about."""
        if self.stored is not None:
            self.stored.check(credential.token)

    def admit(self, credential: Credential, rows: Sequence[Row], now: float) -> Session:
        """Return the session behind a stored credential, from the database's rows for it.

        Raises SessionExpired, and SessionInvalid with a reason for the log.
        """
        if self.stored is None:
            raise SessionInvalid("this session has no database")
        return self.session_of(self.stored.judge(rows, credential.token, now))

    def session_of(self, verified: Verified) -> Session:
        """Return the session that verified claims make. Raises SessionInvalid."""
        principal = self.reader.read(verified.claims)
        if principal is None:
            raise SessionInvalid("the claims hold no id of a user that can be used")
        return Session(principal, verified.kind, verified.expires)
