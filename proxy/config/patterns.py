"""Path and host patterns as the configuration compares them: which requests do two of them share?

Only what the checks need. Requests are matched in core, by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.config.units import is_host, is_ipv6

# RFC 3986 section 3.3, without escapes; `*` has its own meaning.
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-Fa-f]{2})*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
# Escapes that split or end a path for servers that decode first: controls, # / ? \ and DEL, and a
# space at the end, which Windows ignores.
_DIVISIVE: Final = re.compile(r"%(?:[01][0-9A-F]|20$|23|2F|3F|5C|7F)", re.IGNORECASE)


@dataclass(frozen=True)
class Pattern:
    """`/users/*/**` is segments ("users", "*") and `is_open`. The root's one segment is empty."""

    segments: tuple[str, ...]
    is_open: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a path pattern; ValueError says what is wrong with it."""
        if not text.startswith("/"):
            raise ValueError("a path begins with /")
        if "?" in text or "#" in text:
            raise ValueError("a path has no query and no fragment")
        segments = text[1:].split("/")
        is_open = segments[-1] == "**"
        if is_open:
            segments.pop()
        for position, segment in enumerate(segments):
            _check_segment(segment, is_last=position == len(segments) - 1 and not is_open)
        return cls(tuple(segments), is_open)

    @property
    def is_literal(self) -> bool:
        """Whether it stands for one path only."""
        return not self.is_open and "*" not in self.segments

    @property
    def rank(self) -> tuple[int, ...]:
        """The smaller of two ranks wins where both patterns match."""
        fixed = tuple(int(segment == "*") for segment in self.segments)
        return (*fixed, 2) if self.is_open else fixed

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The wildcards, in order."""
        stars = tuple(segment for segment in self.segments if segment == "*")
        return (*stars, "**") if self.is_open else stars

    def overlaps(self, other: Pattern) -> bool:
        """Say whether some path matches both."""
        pairs = zip(self.segments, other.segments, strict=False)
        if not all(_shares(one, two) for one, two in pairs):
            return False
        shorter, longer = sorted((self, other), key=lambda each: len(each.segments))
        return shorter.is_open or len(shorter.segments) == len(longer.segments)

    def covers(self, other: Pattern) -> bool:
        """Say whether every path that matches `other` matches this."""
        length = len(self.segments)
        if length > len(other.segments) or (other.is_open and not self.is_open):
            return False
        if length < len(other.segments) and not self.is_open:
            return False
        pairs = zip(self.segments, other.segments, strict=False)
        return all(one == two or (one == "*" and two != "") for one, two in pairs)

    def folded(self) -> Pattern:
        """Return the pattern as a backend reads it that ignores case and a trailing slash."""
        segments = tuple(segment.lower() for segment in self.segments)
        if len(segments) > 1 and segments[-1] == "":
            segments = segments[:-1]
        return Pattern(segments, self.is_open)


def _shares(one: str, two: str) -> bool:
    # `*` is never an empty segment.
    return one == two or (one == "*" and two != "") or (two == "*" and one != "")


def _check_segment(segment: str, *, is_last: bool) -> None:
    if segment == "*":
        return
    if segment == "" and not is_last:
        raise ValueError("a path has no empty segments (//)")
    if "**" in segment:
        raise ValueError("** stands alone, at the end of the path, as in /folder/**")
    if "*" in segment:
        raise ValueError("* stands for one whole segment, as in /users/*/posts")
    if not segment.isascii():
        raise ValueError("a path is ASCII; write other characters as %XX of their UTF-8 bytes")
    if not _LITERAL.fullmatch(segment):
        raise ValueError("a path has no characters that a URL must escape; write them as %XX")
    _check_escapes(segment)
    if segment and not segment.partition(";")[0].rstrip("."):
        raise ValueError("a path has no segments such as . or .. or ;x")


def _check_escapes(segment: str) -> None:
    if _DIVISIVE.search(segment):
        raise ValueError("a path has no escaped slashes, backslashes, ?, # or control characters")
    for match in _ESCAPE.finditer(segment):
        if _UNRESERVED.fullmatch(chr(int(match[1], 16))):
            raise ValueError("letters, digits and - . _ ~ are written as they are, without escape")
        if match[0] != match[0].upper():
            raise ValueError("escapes are written in capitals, as in %C3%A9")


def check_host(text: str) -> None:
    """Refuse what is not `api.example.com` or `*.example.com`, with a ValueError."""
    if "/" in text or "@" in text:
        raise ValueError("a host is a name, without scheme and path")
    name = text.removeprefix("*.")
    if "*" in name:
        raise ValueError("* stands for the labels in front of a domain, as in *.example.com")
    if is_ipv6(name.strip("[]")):
        if not (name.startswith("[") and name.endswith("]") and name == text):
            raise ValueError("an IPv6 address goes in brackets, as in [::1]")
        return
    if ":" in name:
        raise ValueError("a host is a name without a port")
    if not name.isascii():
        raise ValueError("a host is ASCII; write an international name in its xn-- form")
    if not is_host(name):
        raise ValueError("must be a host name, or *. and a domain")


def shared_methods(one: Iterable[str] | None, two: Iterable[str] | None) -> frozenset[str] | None:
    """Return the methods that two routes both offer; None is all of them. GET implies HEAD."""
    if one is None or two is None:
        other = two if one is None else one
        return None if other is None else offered(other)
    return offered(one) & offered(two)


def offered(methods: Iterable[str]) -> frozenset[str]:
    """Return the methods of a route, with HEAD where there is GET."""
    named = frozenset(methods)
    return named | {"HEAD"} if "GET" in named else named
