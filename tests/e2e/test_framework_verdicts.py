"""What the real frameworks refuse we refuse: thousands of forged requests are put to both.

Where they let in what we refuse, we are stricter on purpose; where we let in what they refuse, the
reason stands in LOOSER. Anything else fails.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from proxy.config.model import SessionConfig
from proxy.core.head import RequestHead
from proxy.core.session import SessionRule
from proxy.errors import ProxyError
from tests.support import mint

SECRET: Final = "8c2f0a51d7e94b6f3e1d5a7c9b0f2e4d6a8c0b1d3f5e7a9c"
OTHER: Final = "1f3b5d7a9c8e6f4d2b0a1c3e5f7d9b8a6c4e2f0d1b3a5c7e"
NAMES: Final = {
    "next-auth": ("next-auth.session-token", "__Secure-next-auth.session-token"),
    "@auth/core": ("authjs.session-token", "__Secure-authjs.session-token"),
}


@dataclass(frozen=True)
class Asked:
    """One request: which framework made the session, the cookie's name, what is sent."""

    framework: str
    name: str
    cookie: str | None = None
    bearer: str | None = None
    what: str = ""


def key_of(framework: str, name: str) -> tuple[dict[str, Any], bytes]:
    """Return header and key of the framework's own tokens."""
    if framework == "next-auth":
        return {"alg": "dir", "enc": "A256GCM"}, mint.v4_key(SECRET)
    key = mint.v5_key(SECRET, name)
    return {"alg": "dir", "enc": "A256CBC-HS512", "kid": mint.thumbprint(key)}, key


def good(framework: str, name: str, **more: Any) -> str:
    header, key = key_of(framework, name)
    return mint.seal(header, mint.claims("u-1", **more), key)


def payloads() -> Iterator[tuple[str, bytes]]:
    """Yield claims as bytes, good and bad."""
    now = int(time.time())
    texts = [
        *("null", "true", '"x"', '""', "[]", "{}", "-1", "0", "01", "1.5", "1e10", "1e400", "NaN"),
        *(str(now + 900), str(now - 900), str(2**53), str(2**54), "9" * 400),
    ]
    for claim in ("exp", "nbf", "iat", "sub"):
        for text in texts:
            members = {"sub": '"u-1"', "exp": str(now + 600), claim: text}
            listed = ",".join(f'"{name}":{value}' for name, value in members.items())
            yield f"{claim} {text[:12]}", f"{{{listed}}}".encode()
    yield "no exp", b'{"sub":"u-1"}'
    whole = f'{{"sub":"u-1","exp":{now + 600}}}'
    others = ("[]", "null", '"x"', "1", "", " ", "{")
    for text in (*others, whole + whole, whole + " ", "\ufeff" + whole):
        yield f"payload {text[:10]}", text.encode()
    yield "twice", f'{{"sub":"u-1","sub":"u-2","exp":{now + 600}}}'.encode()
    yield "not UTF-8", whole.encode("utf-16")
    yield "bad UTF-8", whole.encode().replace(b"u-1", b"u-\xff")
    for depth in (10, 400, 5_000):
        deep = "[" * depth + "]" * depth
        yield f"depth {depth}", f'{{"sub":"u-1","exp":{now + 600},"deep":{deep}}}'.encode()


def headers(base: Mapping[str, Any]) -> Iterator[tuple[str, bytes | dict[str, Any]]]:
    """Yield headers of tokens that are otherwise authentic."""
    changes: list[dict[str, Any]] = [
        {"alg": "none"},
        {"alg": "DIR"},
        {"alg": "A256KW"},
        {"alg": "PBES2-HS512+A256KW", "p2c": 1, "p2s": "AA"},
        {"alg": ["dir"]},
        {"enc": "A256GCM"},
        {"enc": "A256CBC-HS512"},
        {"enc": "A128CBC-HS256"},
        {"enc": "A192GCM"},
        {"enc": None},
        {"kid": "x"},
        {"kid": None},
        {"kid": 1},
        {"typ": "JWT"},
        {"typ": 1},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"zip": "GZ"},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False},
        {"jwk": {"kty": "oct"}},
        {"jku": "https://evil.example"},
        {"iss": "x"},
        {"x": "y" * 2000},
    ]
    for more in changes:
        yield f"header {more}"[:40], {**base, **more}
    without = {name: value for name, value in base.items() if name != "kid"}
    yield "header without kid", without
    yield "header alg twice", b'{"alg":"none",' + mint.compact_json(base)[1:]
    yield "header list", b"[]"
    yield "header null", b"null"
    yield "header empty", b""


def respelt(token: str) -> Iterator[tuple[str, str]]:
    """Yield other spellings of a token and its parts."""
    parts = token.split(".")
    for at, part in enumerate(parts):
        for label, new in (
            ("empty", ""),
            ("padded", part + "="),
            ("cut", part[:-1]),
            ("longer", part + "A"),
            ("spaced", part[:3] + " " + part[3:]),
            ("starred", part[:3] + "*" + part[3:]),
            ("standard", part.replace("-", "+").replace("_", "/")),
            ("last bits", part[:-1] + chr(ord(part[-1]) ^ 1) if part else "A"),
            ("NUL", part + "%00"),
            ("not ASCII", part + "\xff"),
        ):
            yield f"part {at} {label}", ".".join([*parts[:at], new, *parts[at + 1 :]])
    yield "four parts", ".".join(parts[:4])
    yield "six parts", token + "."
    yield "escaped", "".join(f"%{ord(letter):02x}" for letter in token)
    yield "escape cut", token + "%"
    yield "quoted", f'"{token}"'
    yield "dots", "...."
    yield "a UUID", "f1d2c3b4-0000-4000-8000-00000000abcd"


def cookies(name: str, token: str, other: str) -> Iterator[tuple[str, str]]:
    """Yield Cookie headers around a good token and one of somebody else."""
    half = len(token) // 2
    first, second = token[:half], token[half:]
    yield from (
        ("good", f"{name}={token}"),
        ("among others", f"a=1; {name}={token}; b=2"),
        ("chunks", f"{name}.0={first}; {name}.1={second}"),
        ("chunks turned", f"{name}.1={second}; {name}.0={first}"),
        ("chunk 1 missing", f"{name}.0={first}"),
        ("chunk 0 missing", f"{name}.1={second}"),
        ("chunk gap", f"{name}.0={first}; {name}.2={second}"),
        ("chunk empty", f"{name}.0={first}; {name}.1=; {name}.2={second}"),
        ("chunk left over", f"{name}.0={first}; {name}.1={second}; {name}.2=x"),
        ("base and chunk", f"{name}={token}; {name}.0=x"),
        ("base empty and chunks", f"{name}=; {name}.0={first}; {name}.1={second}"),
        ("leading zero", f"{name}.00={first}; {name}.01={second}"),
        ("twice the same", f"{name}={token}; {name}={token}"),
        ("good then evil", f"{name}={token}; {name}={other}"),
        ("evil then good", f"{name}={other}; {name}={token}"),
        ("look-alike behind", f"{name}={token}; {name}-old=x"),
        ("look-alike before", f"{name}-old=x; {name}={token}"),
        ("look-alike empty", f"{name}-old=; {name}={token}"),
        ("another case", f"{name.upper()}={token}"),
        ("other prefix", f"__Host-{name}={token}"),
        ("spaced", f"  {name} = {token}  ; b=1"),
        ("tabbed", f"\t{name}\t=\t{token}"),
        ("no space", f"a=1;{name}={token};b=2"),
        ("comma", f"a=1, {name}={token}"),
        ("version", f"$Version=1; {name}={token}; $Path=/"),
        ("quoted", f'{name}="{token}"'),
        ("quote opened", f'a="x; {name}={token}; b=y"'),
        ("nameless", f"={name}={token}"),
        ("no equals sign", f"{name}; {name}={token}"),
        ("empty first", f"{name}=; {name}={token}"),
        ("vertical tab", f"\x0b{name}={token}"),
        ("no-break space", f"\xa0{name}={token}"),
        ("proto", f"__proto__={token}; {name}={token}"),
    )


def mutations(name: str, token: str, count: int, source: random.Random) -> Iterator[str]:
    """Yield a Cookie header with a few bytes changed, left out or doubled."""
    whole = f"theme=dark; {name}.0={token[:200]}; {name}.1={token[200:]}; a=b"
    if source.random() < 0.5:
        whole = f"theme=dark; {name}={token}; a=b"
    for _ in range(count):
        letters = list(whole)
        for _ in range(source.choice((1, 1, 1, 2, 3))):
            at = source.randrange(len(letters))
            change = source.choice(("set", "leave out", "double"))
            if change == "set":
                letters[at] = chr(source.choice((*range(0x21, 0x7F), 0x20, 0x80, 0xFF)))
            elif change == "leave out":
                del letters[at]
            else:
                letters.insert(at, letters[at])
        yield "".join(letters)


def of_name(framework: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the Cookie headers for one name of a cookie, each with what was done."""
    header, key = key_of(framework, name)
    token, other = good(framework, name), mint.seal(header, mint.claims("evil"), key)
    tokens = [(what, mint.seal(header, payload, key)) for what, payload in payloads()]
    tokens += [(what, mint.seal(each, mint.claims("u-1"), key)) for what, each in headers(header)]
    tokens += respelt(token)
    tokens += elsewhere(framework, name)
    yield from ((what, f"{name}={each}") for what, each in tokens)
    yield from cookies(name, token, other)
    yield from (("mutation", each) for each in mutations(name, token, 400, random.Random(name)))


def elsewhere(framework: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield good tokens of another framework, cookie, purpose or secret."""
    for other_framework, names in NAMES.items():
        for other in names:
            if (other_framework, other) != (framework, name):
                yield f"of {other}", good(other_framework, other)
    state = name.replace("session-token", "state")
    yield "state", mint.v5(mint.claims(), SECRET, cookie=state)
    yield "state", mint.v4(mint.claims(), SECRET, salt=state)
    yield "another secret", mint.v5(mint.claims(), OTHER, cookie=name)
    yield "another secret", mint.v4(mint.claims(), OTHER)


def all_requests(framework: str) -> Iterator[Asked]:
    """Yield every request that is asked of a framework and of us."""
    for name in NAMES[framework]:
        for what, cookie in of_name(framework, name):
            yield Asked(framework, name, cookie, None, what)
        for what, spelling in respelt(good(framework, name)):
            if spelling.isprintable():
                yield Asked(framework, name, None, spelling, f"bearer {what}")


RULES: Final = {
    name: SessionRule.compile(
        "web", SessionConfig(secret=(SecretStr(SECRET),), cookie=name, bearer=True)
    )
    for names in NAMES.values()
    for name in names
}


Verdict = list[Any] | None
"""The claims sub and exp of a session, or None where there is none."""


def ours(asked: Asked) -> Verdict:
    """Return what we make of a request."""
    fields = []
    if asked.cookie is not None:
        fields.append((b"Cookie", asked.cookie.encode("latin-1")))
    if asked.bearer is not None:
        fields.append((b"Authorization", b"Bearer " + asked.bearer.encode("latin-1")))
    request = RequestHead("GET", "/", 1, tuple(fields), "127.0.0.1")
    rule = RULES[asked.name]
    try:
        credential = rule.find(request, True)
        if credential is None:
            return None
        claims = rule.verifier.verify(credential.token, credential.name, time.time()).claims
    except ProxyError:
        return None
    return [claims.get("sub"), claims.get("exp")]


def theirs(requests: list[Asked], folder: Path) -> list[Verdict]:
    """Return what the frameworks make of all requests."""
    given = [
        {
            "framework": asked.framework,
            "secret": SECRET,
            "name": asked.name,
            "cookie": asked.cookie,
            "bearer": asked.bearer,
        }
        for asked in requests
    ]
    done = subprocess.run(
        ["node", "decode.mjs"],
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found: list[Verdict] = json.loads(done.stdout)
    return found


LOOSER: Final = {
    "look-alike before": "a cookie whose name only begins like the session's is another app's",
    "look-alike behind": "the same",
    "empty first": "an empty cookie is none, wherever it stands",
}
"""Requests that we let in and the frameworks do not: the token is one that they let in alone."""

STRICTER: Final = {
    r"(exp|iat) (1e400|9999|18014)": "no time that a clock can be compared with",
    r"sub 1e400": "a number that one reader takes for infinite",
    r"no exp": "it would never end",
    r"payload \ufeff": "JSON begins without a byte order mark (RFC 8259 section 8.1)",
    r"twice|header alg twice": "two readers could take it for two things",
    r"bad UTF-8": "next-auth replaces the bytes, so two tokens would say the same",
    r"depth 5000": "no claims are so deep",
    r"header ": "alg, enc, kid, typ and cty alone, as texts; a kid that is there names the key",
    r"(bearer )?part \d ": "a token has one spelling",
    r"escape cut|(bearer )?quoted": "the same, of its cookie",
    r"chunk gap|chunk empty|leading zero": "chunks are numbered from 0 without a gap",
    r"good then evil|evil then good": "of two cookies with one name neither counts",
    r"mutation": "one of these, or a name that only begins like the session's",
}
"""Requests that the frameworks let in and we do not, by what was done to them."""


@pytest.mark.parametrize("framework", NAMES)
def test_what_the_framework_refuses_we_refuse(packages: Path, framework: str) -> None:
    requests = list(all_requests(framework))
    alike: Counter[bool] = Counter()
    for asked, them in zip(requests, theirs(requests, packages.parent), strict=True):
        us = ours(asked)
        if (us is None) == (them is None):
            alike[us is not None] += 1
        elif us is not None:
            assert asked.what in LOOSER, asked
            assert us[0] == "u-1"
        else:
            assert any(re.match(pattern, asked.what) for pattern in STRICTER), asked
        if us is not None and them is not None and asked.what != f"sub {'9' * 12}":
            # JavaScript reads 400 digits as Infinity; its own tokens hold no such number.
            assert us == them, asked
    assert alike[True] > 100
    assert alike[False] > 800


def test_each_difference_that_is_listed_is_one(packages: Path) -> None:
    """A list that is longer than the truth would hide the next difference."""
    looser: set[str] = set()
    stricter: set[str] = set()
    for framework in NAMES:
        requests = [asked for asked in all_requests(framework) if asked.what != "mutation"]
        for asked, them in zip(requests, theirs(requests, packages.parent), strict=True):
            us = ours(asked)
            if us is not None and them is None:
                looser.add(asked.what)
            elif us is None and them is not None:
                stricter |= {each for each in STRICTER if re.match(each, asked.what)}
    assert looser == set(LOOSER)
    assert stricter == set(STRICTER) - {"mutation"}
