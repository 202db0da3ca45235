"""A source line with a caret under the place, and with everything secret in it covered.

What is covered: values under keys that hold secrets, and the user part of URLs. `${VAR}` stays,
since it shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

COVER: Final = "***"
_WIDTH: Final = 100
_USER_OF_URL: Final = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
_SECRET_KEY: Final = re.compile(r"secret|token|passw|credential|(?:^|_)key$|apikey", re.IGNORECASE)
_NOT_SECRET: Final = frozenset({"allow_weak_secret", "encryption", "key"})
_SECRET_KEYS: Final = (
    *("secret", "admin_token", "password"),
    *("signing_key", "verification_key", "encryption_key"),
)
# Where the text could not be parsed there are no values: what follows such a key is covered whole.
_KEY_IN_TEXT: Final = re.compile(r"([\w-]+)[\"']?\s*:\s")
_VARIABLE_ALONE: Final = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True)
class Span:
    """Part of a text, by line and column from 0; the end is outside."""

    line: int
    column: int
    end_line: int
    end_column: int


def names_secret(key: str) -> bool:
    """Say whether a key of this name holds a secret, also when it is misspelt or unknown."""
    if key in _NOT_SECRET:
        return False
    return bool(_SECRET_KEY.search(key) or get_close_matches(key, _SECRET_KEYS, 1, 0.75))


def shows_secret(raw: str) -> bool:
    """Say whether a value under such a key is more than a variable's name."""
    return _VARIABLE_ALONE.fullmatch(raw) is None


def covered_in_text(lines: Sequence[str]) -> list[Span]:
    """Return what to cover in a text that could not be parsed: from a secret's key to its end."""
    spans = []
    for number, line in enumerate(lines):
        keys = _KEY_IN_TEXT.finditer(f"{line} ")
        match = next((each for each in keys if names_secret(each[1])), None)
        if match is None:
            continue
        spans.append(Span(number, match.end(), number, len(line)))
        indent = _indent(line)
        for below, text in enumerate(lines[number + 1 :], number + 1):
            if text.strip() and _indent(text) <= indent and not text.lstrip().startswith("-"):
                break
            spans.append(Span(below, 0, below, len(text)))
    return spans


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def snippet(lines: Sequence[str], spans: Iterable[Span], line: int, column: int) -> str:
    """Return the line (from 1) and a caret under the column (from 1), both indented."""
    if not 1 <= line <= len(lines):
        return ""
    text, caret = _cover(lines[line - 1], spans, line - 1, column - 1)
    text = "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
    text, caret = _crop(text, caret)
    lead = "".join("\t" if char == "\t" else " " for char in text[:caret])
    return f"    {text}\n    {lead}^"


def _cover(text: str, spans: Iterable[Span], line: int, caret: int) -> tuple[str, int]:
    """Cover the spans in the line and say where the caret's column went."""
    pieces = [match.span() for match in _USER_OF_URL.finditer(text)]
    for span in spans:
        if span.line <= line <= span.end_line:
            start = span.column if line == span.line else _indent(text)
            end = span.end_column if line == span.end_line else len(text)
            pieces.append((start, end))
    # From right to left, so that columns further left stay what they are.
    for start, end in reversed(_joined(pieces)):
        text = text[:start] + COVER + text[end:]
        if caret >= end:
            caret += len(COVER) - (end - start)
        elif caret > start:
            caret = start
    return text, caret


def _joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pieces from left to right, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if end <= start:
            continue
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _crop(text: str, caret: int) -> tuple[str, int]:
    """Leave out the indentation, and what is far from the caret on a long line."""
    indent = len(text) - len(text.lstrip(" "))
    text = text.strip(" ")
    caret = max(0, min(caret - indent, len(text)))
    if len(text) <= _WIDTH:
        return text, caret
    start = max(0, min(caret - _WIDTH // 2, len(text) - _WIDTH))
    before = "..." if start else ""
    after = "..." if start + _WIDTH < len(text) else ""
    return before + text[start : start + _WIDTH] + after, caret - start + len(before)
