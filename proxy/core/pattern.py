"""Path patterns, and the tree in which the most specific pattern of many is found.

A pattern is made of literal segments, `*` (one segment, not an empty one) and at most one `**` at
its end (that folder and all below it). Segment by segment, a literal is more specific than `*`, and
`*` than `**`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.core.target import check_path, fold
from proxy.errors import BadRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pattern:
    """`/users/*/**` is segments ("users", None), open: None is `*`, and `open` a trailing `**`.

    A trailing slash is a last literal segment that is empty, and so is the root's.
    """

    segments: tuple[str | None, ...]
    open: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern as the configuration writes it. Raises ValueError with what is wrong."""
        if not text.startswith("/"):
            raise ValueError("a path pattern begins with /")
        if not text.isascii() or not text.isprintable() or set(text) & set(" ?#"):
            raise ValueError("a path pattern is visible ASCII without ? and #; escape the rest")
        written = text[1:].split("/")
        is_open = written[-1] == "**"
        if is_open:
            written.pop()
        return cls(tuple(_segment(part) for part in written), is_open)._checked()

    def _checked(self) -> Pattern:
        if "" in (self.segments if self.open else self.segments[:-1]):
            raise ValueError("a path pattern has no empty segments")
        return self

    @property
    def order(self) -> tuple[tuple[int, str], ...]:
        """A key that sorts patterns in the order in which they are tried."""
        fixed = ((1, "") if part is None else (0, part) for part in self.segments)
        return (*fixed, (2, "")) if self.open else tuple(fixed)

    def folded(self, *, case_sensitive: bool = False, strict_slash: bool = False) -> Pattern:
        """Return the pattern that matches folded paths (`target.fold` with the same flags)."""
        parts = tuple(
            part and fold(f"/{part}", case_sensitive=case_sensitive)[1:] for part in self.segments
        )
        if not strict_slash and len(parts) > 1 and parts[-1] == "":
            parts = parts[:-1]
        return Pattern(parts, self.open)

    def __str__(self) -> str:
        parts = ["*" if part is None else part for part in self.segments]
        return "/" + "/".join([*parts, "**"] if self.open else parts)


def _segment(part: str) -> str | None:
    if part == "*":
        return None
    if "*" in part:
        raise ValueError("* stands for a whole segment, and ** only at the end")
    if "%2f" in part.lower():
        raise ValueError("a path pattern has no encoded slashes")
    try:
        check_path(f"/{part}")
    except BadRequest as refusal:
        raise ValueError(refusal.reason) from None
    return part


class _Node(Generic[T]):
    __slots__ = ("end", "literals", "rest", "star")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.star: _Node[T] | None = None
        self.end: T | None = None
        self.rest: T | None = None


class PatternTree(Generic[T]):
    """A value for each of many patterns. Paths are looked up as `path.split("/")`."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: Pattern, value: T) -> None:
        """Put `value` at `pattern`, in place of what is there."""
        node = self._root
        for part in pattern.segments:
            if part is not None:
                node = node.literals.setdefault(part, _Node())
            else:
                node.star = node.star or _Node()
                node = node.star
        if pattern.open:
            node.rest = value
        else:
            node.end = value

    def first(self, segments: Sequence[str]) -> T | None:
        """Return the value of the most specific pattern that matches, or None.

        Every node is visited once at most, so that no path costs more than the tree is large.
        """
        return _first(self._root, segments, 1)

    def every(self, segments: Sequence[str]) -> list[T]:
        """Return the values of all patterns that match, the most specific first."""
        found: list[T] = []
        _collect(self._root, segments, 1, found)
        return found


def _first(node: _Node[T], segments: Sequence[str], index: int) -> T | None:
    if index == len(segments):
        return node.end if node.end is not None else node.rest
    segment = segments[index]
    child = node.literals.get(segment)
    if child is not None:
        found = _first(child, segments, index + 1)
        if found is not None:
            return found
    if node.star is not None and segment:
        found = _first(node.star, segments, index + 1)
        if found is not None:
            return found
    return node.rest


def _collect(node: _Node[T], segments: Sequence[str], index: int, found: list[T]) -> None:
    if index == len(segments):
        if node.end is not None:
            found.append(node.end)
    else:
        segment = segments[index]
        child = node.literals.get(segment)
        if child is not None:
            _collect(child, segments, index + 1, found)
        if node.star is not None and segment:
            _collect(node.star, segments, index + 1, found)
    if node.rest is not None:
        found.append(node.rest)
