"""The attack cases of `attacks.json`, and how their escaped text becomes bytes.

`left-out.yaml` names the cases that this product does not run, `others.yaml` the further statuses
that are accepted from other proxies, both with reasons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).with_name("attacks.json")
LEFT_OUT_FILE: Final = Path(__file__).with_name("left-out.yaml")
OTHERS_FILE: Final = Path(__file__).with_name("others.yaml")
FORMAT: Final = 1

CATEGORIES: Final = {
    "FR": "request framing",
    "HB": "Connection header",
    "PA": "paths",
    "ID": "identity headers",
    "TP": "forwarding headers",
    "CK": "cookies",
    "TK": "tokens",
    "DB": "sessions in a database",
    "CO": "CORS",
    "CS": "cross-site requests",
    "RD": "redirects to sign-in",
    "UP": "upgrades",
    "UR": "upstream answers",
    "DS": "slow and large",
    "RL": "rate limits",
    "LK": "leaks",
    "EP": "own endpoints",
}
"""Category -> what its cases are about, in the order in which they are told."""

SEVERITIES: Final = ("critical", "high", "medium", "low")

_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_SIZES: Final = {"KiB": 1 << 10, "MiB": 1 << 20}
_ABOUT: Final = {"id", "category", "source", "title", "severity", "bare_aiohttp_3_14_3"}
_KEYS: Final = _ABOUT | {"config", "expect", "raw", "steps", "recipe"}
_EXPECT_KEYS: Final = {
    *("status", "upstream", "upstream_assert", "response_assert", "max_ms", "note"),
}
_UPSTREAM: Final = frozenset({"none", "one", "any", "none_or_public"})

Resolve = Callable[[str], bytes]
"""Name of a placeholder -> its bytes. Raises KeyError."""


@dataclass(frozen=True, slots=True)
class Send:
    """Put this on the connection; `template` is as in the file."""

    template: str


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for so many more final answers."""

    count: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Send nothing for so many seconds."""

    seconds: float


Step = Send | Read | Sleep


@dataclass(frozen=True, slots=True)
class Case:
    """One attack: what is sent to a gateway of which profile, and what may come of it.

    `statuses` are the accepted final statuses; `may_close` accepts a connection that ends without
    an answer. `max_ms` is None where the case sets no limit.
    """

    id: str
    category: str
    severity: str
    source: str
    title: str
    profile: str
    recipe: str
    steps: tuple[Step, ...]
    statuses: frozenset[int]
    may_close: bool
    upstream: str
    upstream_asserts: tuple[str, ...]
    answer_asserts: tuple[str, ...]
    max_ms: float | None

    @property
    def templates(self) -> str:
        """Everything that it sends, as in the file."""
        return "".join(step.template for step in self.steps if isinstance(step, Send))

    def expecting(self, resolve: Resolve) -> Case:
        """Return the case with the placeholders in what it expects filled in."""
        return replace(
            self,
            upstream_asserts=tuple(_fill_text(text, resolve) for text in self.upstream_asserts),
            answer_asserts=tuple(_fill_text(text, resolve) for text in self.answer_asserts),
        )

    @property
    def placeholders(self) -> set[str]:
        """The placeholders in what it sends and in what it expects."""
        text = self.templates + "".join(self.upstream_asserts + self.answer_asserts)
        return set(_PLACEHOLDER.findall(text))


def load(file: Path = FILE) -> tuple[dict[str, str], tuple[Case, ...]]:
    """Return the profiles (name -> meaning) and the cases. Raises ValueError for an unknown key."""
    document = json.loads(file.read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, not {FORMAT}")
    return document["profiles"], tuple(parse_case(entry) for entry in document["attacks"])


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a case is not run; `instead` is a test of the nearest thing that there is."""

    why: str
    instead: str


def load_left_out(file: Path = LEFT_OUT_FILE) -> dict[str, LeftOut]:
    """Return the cases that are not run, by id. Raises TypeError for an unknown key."""
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {case_id: LeftOut(**entry) for case_id, entry in entries.items()}


def load_others(file: Path = OTHERS_FILE) -> dict[str, frozenset[int]]:
    """Return the statuses that are accepted from other proxies besides the case's own, by id."""
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {case_id: frozenset(entry["statuses"]) for case_id, entry in entries.items()}


def parse_case(entry: Mapping[str, Any]) -> Case:
    """Read one case. Raises ValueError for a key or a word that nobody here would look at."""
    expect = entry["expect"]
    if unknown := (set(entry) - _KEYS) | (set(expect) - _EXPECT_KEYS):
        raise ValueError(f"{entry['id']}: unknown keys {sorted(unknown)}")
    if entry["category"] not in CATEGORIES or entry["severity"] not in SEVERITIES:
        about = f"category {entry['category']!r} or severity {entry['severity']!r}"
        raise ValueError(f"{entry['id']}: unknown {about}")
    words = {status for status in expect["status"] if not isinstance(status, int)}
    if unknown := (words - {"closed"}) | ({expect["upstream"]} - _UPSTREAM):
        raise ValueError(f"{entry['id']}: unknown expectations {sorted(unknown)}")
    return Case(
        id=entry["id"],
        category=entry["category"],
        severity=entry["severity"],
        source=entry["source"],
        title=entry["title"],
        profile=entry["config"],
        recipe=entry.get("recipe", ""),
        steps=tuple(_parse_step(step) for step in entry.get("steps", [entry["raw"]])),
        statuses=frozenset(status for status in expect["status"] if isinstance(status, int)),
        may_close="closed" in words,
        upstream=expect["upstream"],
        upstream_asserts=tuple(expect.get("upstream_assert", ())),
        answer_asserts=tuple(expect.get("response_assert", ())),
        max_ms=expect.get("max_ms"),
    )


def _parse_step(step: str | Mapping[str, float]) -> Step:
    if isinstance(step, str):
        return Send(step)
    if set(step) == {"read"}:
        return Read(int(step["read"]))
    if set(step) == {"sleep"}:
        return Sleep(step["sleep"])
    raise ValueError(f"unknown step {step!r}")


def unescape(text: str) -> bytes:
    r"""Return the bytes of escaped text (`\r\n`, `\xff`, `\\`), as the file's `decode` says."""
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def fill(template: str, resolve: Resolve) -> bytes:
    """Return the bytes of a template, its placeholders filled in. Raises KeyError for others."""
    parts = _PLACEHOLDER.split(template)
    return b"".join(
        _placeholder(part, resolve) if index % 2 else unescape(part)
        for index, part in enumerate(parts)
    )


def _fill_text(text: str, resolve: Resolve) -> str:
    return _PLACEHOLDER.sub(lambda found: resolve(found[1]).decode("latin-1"), text)


def _placeholder(name: str, resolve: Resolve) -> bytes:
    kind, _, argument = name.partition(":")
    if kind == "REPEAT":
        count, _, text = argument.partition(":")
        return unescape(text) * int(count)
    if kind == "CHUNKS":
        return _chunks(int(argument[:-3]) * _SIZES[argument[-3:]])
    if kind == "LEN":
        return b"%d" % len(resolve(argument))
    return resolve(name)


def _chunks(size: int) -> bytes:
    """Return a chunked body of `size` zeros, a multiple of 64 KiB, with its last chunk."""
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    return chunk * (size >> 16) + b"0\r\n\r\n"
