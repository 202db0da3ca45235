"""Where the fuzzers begin: what the attack cases send, and the frameworks' tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

_TESTS: Final = Path(__file__).parent.parent
_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_TARGET: Final = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.[01]\r\n")
_COOKIE: Final = re.compile(rb"\r\nCookie: ([^\r\n]*)\r\n", re.IGNORECASE)
_UPSTREAM_BYTES: Final = re.compile(r"upstream bytes: (.*)", re.DOTALL)
_FILLER: Final = re.compile(r"<([0-9]+) (.)>")
_CLOSES: Final = re.compile(r"<close(?: at once)?>\Z")
_SIZE_MAX: Final = 4096
"""Bytes of a seed: what is larger shows a limit, which a fuzzer does not find by itself."""


def _document(path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_TESTS / path).read_text(encoding="utf-8"))
    return document


def cases() -> list[dict[str, Any]]:
    """Return the attack cases."""
    return list(_document("hostile/attacks.json")["attacks"])


def vectors() -> list[dict[str, Any]]:
    """Return the frameworks' tokens."""
    return list(_document("vectors/session-vectors.json")["vectors"])


def _bytes(text: str) -> bytes | None:
    """Return the bytes of a case's escaped text; None for one with placeholders that stand for
    much.
    """
    plain = _PLACEHOLDER.sub("token", text) if "{{REPEAT" not in text else ""
    return plain.encode("ascii").decode("unicode_escape").encode("latin-1") or None


def sent() -> list[bytes]:
    """Return what each case puts on a connection, if that is not large."""
    found: dict[bytes, None] = {}
    for case in cases():
        steps = case.get("steps", [case.get("raw", "")])
        pieces = [_bytes(step) for step in steps if isinstance(step, str)]
        if None not in pieces:
            found[b"".join(piece for piece in pieces if piece)] = None
    return [data for data in found if 0 < len(data) <= _SIZE_MAX]


def targets() -> list[bytes]:
    """Return the request targets of the cases."""
    return list(dict.fromkeys(m[1] for data in sent() for m in _TARGET.finditer(data)))


def cookies() -> list[bytes]:
    """Return the Cookie headers of the cases and of the frameworks' vectors."""
    found = [m[1] for data in sent() for m in _COOKIE.finditer(data)]
    found += [vector["cookie_header"].encode() for vector in vectors() if "cookie_header" in vector]
    return [header for header in dict.fromkeys(found) if len(header) <= _SIZE_MAX]


def answers() -> list[bytes]:
    """Return what the hostile upstreams of the cases say."""
    found = []
    for case in cases():
        recipe = _UPSTREAM_BYTES.fullmatch(case.get("recipe", ""))
        if recipe is None or any(int(n) > _SIZE_MAX for n, _ in _FILLER.findall(recipe[1])):
            continue
        text = _FILLER.sub(lambda m: m[2] * int(m[1]), _CLOSES.sub("", recipe[1]))
        found.append(text.encode("ascii").decode("unicode_escape").encode("latin-1"))
    return found
