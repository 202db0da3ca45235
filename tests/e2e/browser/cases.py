"""The requests of the matrix: page x session x method x headers x credentials x target."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.browser import api, hosts


@dataclass(frozen=True)
class Asking:
    """A page that asks: what it is opened by, its origin, and whether the API is of its site."""

    url: str
    origin: str
    same_site: bool


PAGES: Final[Mapping[str, Asking]] = {
    "listed": Asking(hosts.APP, hosts.APP, same_site=True),
    "listed by a wildcard": Asking(hosts.PREVIEW, hosts.PREVIEW, same_site=True),
    "listed, another site": Asking(hosts.PARTNER, hosts.PARTNER, same_site=False),
    "not listed, same site": Asking(hosts.BLOG, hosts.BLOG, same_site=True),
    "not listed, another site": Asking(hosts.EVIL, hosts.EVIL, same_site=False),
    # Sites have schemes, too (HTML, "schemelessly same site" and "same site").
    "listed, but over http": Asking(hosts.PLAIN_APP, hosts.PLAIN_APP, same_site=False),
    # An opaque origin is of no site.
    "sandboxed": Asking(hosts.SANDBOXED, "null", same_site=False),
    "our own": Asking(f"{hosts.API}/public/page", hosts.API, same_site=True),
}

SESSIONS: Final = ("none", "SameSite=Lax", "SameSite=None", "expired")

METHODS: Final = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    *("OPTIONS", "PROPFIND", "patch", "delete", "TRACE"),
)

BEARER: Final = "Bearer (of u-1)"
"""Stands for a good token, which is made when the matrix runs."""

HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "no headers": {},
    "plain text": {"content-type": "text/plain"},
    "form": {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
    "json": {"content-type": "application/json"},
    "type in quotes": {"content-type": 'text/plain; charset="utf-8"'},
    "language": {"accept-language": "de-CH, de;q=0.9"},
    "odd language": {"accept-language": "de_CH"},
    "long accept": {"accept": "a/" + "b" * 127},
    "first bytes": {"range": "bytes=0-9"},
    "last bytes": {"range": "bytes=-9"},
    "custom": {"x-custom": "1"},
    "custom json": {"x-custom": "1", "content-type": "application/json"},
    "bearer": {"authorization": BEARER},
    "basic": {"authorization": "Basic dTpw"},
    "forged user": {"x-user-id": "u-0"},
    "forbidden": {"origin": hosts.APP, "sec-fetch-site": "same-origin", "cookie": "a=b"},
    "override": {"x-http-method-override": "DELETE"},
    "forbidden override": {"x-http-method-override": "TRACE"},
}

CREDENTIALS: Final = ("omit", "include")

TARGETS: Final[Mapping[str, str]] = {
    "any header": "/any/{}",
    "no content": "/any/204/{}",
    "two headers": "/listed/{}",
    "reading": "/readonly/{}",
    "null listed": "/null/{}",
    "GET only": "/gets/{}",
    "admins": "/admin/{}",
    "small bodies": "/small/{}",
    "upstream away": "/gone/{}",
    "no route": "/nowhere/{}",
}

AXES: Final = (SESSIONS, METHODS, tuple(HEADERS), CREDENTIALS, tuple(TARGETS))

BODY: Final = "12345678"
assert len(BODY) > api.SMALL


@dataclass(frozen=True)
class Case:
    """One request of the matrix; `number` makes its path, so that it can be found again."""

    number: int
    page: str
    session: str
    method: str
    headers: str
    credentials: str
    target: str

    @property
    def path(self) -> str:
        return TARGETS[self.target].format(f"c{self.number}")

    @property
    def has_body(self) -> bool:
        """Whether it comes with BODY: fetch() refuses one for GET and HEAD."""
        return self.method not in ("GET", "HEAD")


def matrix() -> list[Case]:
    """Return cases in which each page meets each pair of values of any two other axes.

    Most pairs end in a refusal, so there are cases of users who are signed in besides.
    """
    chance = random.Random(1)  # the same cases in each run
    numbers = itertools.count()
    rows = ((page, row) for page in PAGES for row in (*_pairwise(AXES, chance), *_users(chance)))
    return [Case(next(numbers), page, *row) for page, row in rows]


def pairs(row: Sequence[Any]) -> set[tuple[int, Any, int, Any]]:
    """Return all pairs of values in `row`, each with the axis it is of."""
    return {
        (first, row[first], second, row[second])
        for first, second in itertools.combinations(range(len(row)), 2)
    }


def _pairwise(axes: Sequence[Sequence[str]], chance: random.Random) -> Iterator[list[str]]:
    """Yield rows, one value of each axis, until every pair of values has occurred.

    Greedy, and by chance where several values are as good.
    """
    missing: dict[tuple[int, Any, int, Any], None] = {}
    for first, second in itertools.combinations(range(len(axes)), 2):
        for value, other in itertools.product(axes[first], axes[second]):
            missing[first, value, second, other] = None
    while missing:
        first, value, second, other = next(iter(missing))
        fixed = {first: value, second: other}
        for axis in range(len(axes)):
            if axis not in fixed:
                values = chance.sample(axes[axis], len(axes[axis]))
                gains = [_gain(fixed | {axis: value}, missing) for value in values]
                fixed[axis] = values[gains.index(max(gains))]
        row = [fixed[axis] for axis in range(len(axes))]
        for pair in pairs(row):
            missing.pop(pair, None)
        yield row


def _users(chance: random.Random) -> Iterator[list[str]]:
    """Yield each usual method with all headers, sent with a good session to any target."""
    for method, headers in itertools.product(METHODS[:6], HEADERS):
        session = chance.choice(("SameSite=Lax", "SameSite=None"))
        yield [session, method, headers, "include", chance.choice(tuple(TARGETS))]


def _gain(fixed: Mapping[int, str], missing: Mapping[tuple[int, Any, int, Any], None]) -> int:
    """Return how many missing pairs a row with these values would bring."""
    chosen = sorted(fixed.items())
    return sum((a, x, b, y) in missing for (a, x), (b, y) in itertools.combinations(chosen, 2))
