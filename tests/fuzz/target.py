"""Request targets: what is forwarded reaches, at no backend, a handler that its route does not
guard.

Input: a byte that chooses one of the routing tables, then the target.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from proxy.core.decision import Permit, Reply
from proxy.core.rules import Rules
from proxy.core.target import canonicalise, fold, parse_host
from proxy.errors import Refusal
from tests.fuzz import seeds as sources
from tests.fuzz.finding import Finding, require
from tests.support.backends import GUARDED, MODELS, Backend
from tests.support.exchanges import (
    HOST,
    SECRET,
    FakeResolver,
    head,
    judge,
    rules_of,
    session,
)

_OPEN: Final = "upstream: api, auth: public"
_SIGNED_IN: Final = "upstream: api"
_GUARDED: Final = "upstream: api, require: {roles: [admin]}"
_HEAD: Final = f"""
sessions: {{web: {{kind: authjs, secret: {SECRET}, bearer: true}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:9]}}}}
routes:
"""
USER: Final = "user-token"
"""The bearer of a user who is no administrator."""


@dataclass(frozen=True, slots=True)
class Table:
    """A routing table before the site of tests/support/backends.py.

    `case_sensitive`: its operator has said that the backend takes no `/ADMIN` for `/admin`.
    """

    name: str
    routes: tuple[tuple[str, str], ...]
    options: str = ""
    case_sensitive: bool = False

    @property
    def rules(self) -> Rules:
        """The table, compiled."""
        lines = [f"  - {{path: {path!r}, {guard}{self.options}}}" for path, guard in self.routes]
        return rules_of(_HEAD + "\n".join(lines) + "\n")

    def allows(self, backend: Backend) -> bool:
        """Whether `backend` is one that the operator may have behind it."""
        return not (self.case_sensitive and backend.ignores_case)


_LISTED: Final = (
    ("/public/**", _OPEN),
    ("/users/**", _OPEN),
    ("/admin/**", _GUARDED),
    ("/users/*/admin/**", _GUARDED),
)
_STRICT: Final = ", case_sensitive: true, strict_slash: true"
_ALLOW: Final = ", encoded_slashes: allow"
TABLES: Final = (
    Table("listed", _LISTED),
    Table("rest open", (*_LISTED, ("/**", _OPEN))),
    Table("rest signed in", (*_LISTED, ("/**", _SIGNED_IN))),
    Table("encoded slashes", _LISTED, _ALLOW),
    Table("encoded slashes, rest open", (*_LISTED, ("/**", _OPEN)), _ALLOW),
    Table("strict", (*_LISTED, ("/**", _OPEN)), _STRICT, case_sensitive=True),
    Table("strict, encoded slashes", (*_LISTED, ("/**", _OPEN)), _STRICT + _ALLOW, True),
    Table(
        "stripped",
        tuple((f"/svc{path}", f"{guard}, strip_prefix: /svc") for path, guard in _LISTED),
    ),
    Table(
        "stripped, encoded slashes",
        tuple((f"/svc{path}", f"{guard}, strip_prefix: /svc") for path, guard in _LISTED),
        _ALLOW,
    ),
    Table(
        "rewritten",
        (
            ("/v1/open/**", f"{_OPEN}, rewrite: /public/**"),
            ("/v1/inner/**", f"{_GUARDED}, rewrite: /admin/**"),
            ("/v1/*/manage/**", f"{_GUARDED}, rewrite: /users/*/admin/**"),
            ("/v1/*/admin/**", f"{_GUARDED}, rewrite: /users/*/admin/**"),
            ("/v1/*/*", f"{_OPEN}, rewrite: /users/*/*"),
            ("/v1/*", f"{_OPEN}, rewrite: /public/*"),
        ),
    ),
    Table(
        "rewritten into what is guarded",
        (
            *_LISTED,
            ("/v1/*/**", f"{_OPEN}, rewrite: /users/*/**"),
            ("/v1/*", f"{_OPEN}, rewrite: /*"),
        ),
    ),
    Table(
        "stripped to what is guarded",
        (*_LISTED, ("/svc/**", f"{_OPEN}, strip_prefix: /svc")),
        _ALLOW,
    ),
)

HEAD_BYTES: Final = 1
WORDS: Final = (
    *(b"/", b"//", b"/.", b"/..", b"/./", b"/../", b"%2f", b"%2F", b"%5c", b"\\", b"%2e", b"."),
    *(b"%2e%2e", b"%252e", b"%25", b"%00", b"%0a", b"%20", b";", b";x", b"%3b", b"..;", b"?", b"#"),
    *(b"%3f", b"%23", b"%c0%ae", b"%c0%af", b"%ef%bc%8f", b"%ff", b"%61", b"%41", b"%7e", b"~"),
    *(b"admin", b"ADMIN", b"%61dmin", b"adm%69n", b"admin;x", b"admin.", b"admin%20", b"admin/"),
    *(b"public", b"users", b"x", b"svc", b"v1", b"open", b"root", b"manage", b"http://", b":80"),
    *(HOST.encode(), b"@", b"%", b"+", b"*", b"$", b"!", b"'", b"%2", b"%zz", b"&", b"="),
)


def seeds() -> Iterable[bytes]:
    """Begin with the attack cases' targets and with every path of the site, in every table."""
    plain = [b"/", b"/public/x", b"/users/7/admin/x?y=1", b"/users/7", b"/admin", b"/ADMIN/", b"/x"]
    spellings = [target.replace(b"/api/admin", b"/admin") for target in sources.targets()]
    for number, table in enumerate(TABLES):
        front = b"/svc" if table.name.startswith("stripped") else b""
        front = b"/v1" if table.name.startswith("rewritten") else front
        for target in (*plain, *spellings):
            yield bytes([number]) + front + target


def parts(data: bytes) -> tuple[Table, str]:
    """Return the table and the target that an input means."""
    number = data[0] if data else 0
    return TABLES[number % len(TABLES)], data[1:].decode("ascii", "surrogateescape")


@cache
def resolver() -> FakeResolver:
    """Return who knows the user."""
    return FakeResolver({USER: session("u-1", roles=["user"])})


def forwarded(table: Table, target: str) -> list[str]:
    """Return the targets that go upstream: those of a stranger's request and of a user's."""
    sent = []
    for fields in ((), (("Authorization", f"Bearer {USER}"),)):
        _, outcome = judge(table.rules, head(*fields, target=target), resolver())
        if isinstance(outcome, Permit):
            sent.append(outcome.target)
        else:
            require(isinstance(outcome, Reply | Refusal), f"{outcome!r} is no refusal")
    return sent


def check(data: bytes) -> None:
    """Judge one input. Raises Finding."""
    table, target = parts(data)
    for sent in set(forwarded(table, target)):
        _check_canonical(sent)
        for backend in MODELS:
            if table.allows(backend) and backend.handler(sent) == GUARDED:
                raise Finding(
                    f"table {table.name!r}: {target!r} goes upstream as {sent!r} without an "
                    f"administrator, and {backend.name} serves the guarded handler"
                )


def _check_canonical(sent: str) -> None:
    """What goes upstream means to us what we took it for."""
    require(sent.isascii() and sent.isprintable() and " " not in sent, f"{sent!r} is no target")
    require(sent.startswith("/") and not sent.startswith("//"), f"{sent!r} is no path")
    again = canonicalise(sent, "GET", parse_host(HOST.encode()))
    written = again.path if again.query is None else f"{again.path}?{again.query}"
    require(written == sent, f"{sent!r} is read as {written!r} the second time")
    require(fold(again.path) == again.folded, f"{sent!r} is folded in two ways")
    require(fold(again.folded) == again.folded, f"{again.folded!r} is not folded yet")


def describe(data: bytes) -> str:
    """Return an input for people."""
    table, target = parts(data)
    return f"table {table.name!r}, target {target!r}, forwarded as {forwarded(table, target)!r}"
