"""What is wrong with a configuration, where, and how to say it.

Law of the file: a problem shows what was written, never what a variable or a secret file held, and
never a secret that was written into the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing to correct. Lines and columns count from 1; line 0 is "nowhere in particular"."""

    file: str
    line: int
    column: int
    message: str
    loc: Loc = ()
    snippet: str = ""
    """The source line and a caret under the place, or nothing."""

    def __str__(self) -> str:
        return f"{self.brief}\n{self.snippet}" if self.snippet else self.brief

    @property
    def brief(self) -> str:
        """Where and what, in one line."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says all that is wrong, in the file's order.

    `named` are the files that it names, as far as it could be read.
    """

    def __init__(self, problems: Iterable[Problem], named: Iterable[Path] = ()) -> None:
        # What an alias repeats is written once, so it is told once.
        unique = {(each.file, each.line, each.column, each.message): each for each in problems}
        self.problems = sorted(unique.values(), key=lambda each: (each.line, each.column))
        self.named = tuple(named)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class Source(Protocol):
    """Where a configuration came from: a file, or flags."""

    def problem(self, loc: Loc, message: str, *, key: bool = False) -> Problem:
        """Return a problem with the value at `loc`, or with its key."""

    def shown(self, loc: Loc) -> str:
        """Return the value at `loc` in quotes and as it was written, safe to print."""

    def shown_key(self, loc: Loc) -> str:
        """Return the key at `loc` in quotes and as it was written, safe to print."""

    def line(self, loc: Loc) -> str:
        """Return where the value at `loc` is, as in `on line 12`."""


@dataclass
class Report:
    """Collects what the checks find."""

    source: Source
    problems: list[Problem]

    def add(self, loc: Loc, message: str, *, key: bool = False) -> None:
        """Note a problem with the value at `loc`, or with its key."""
        self.problems.append(self.source.problem(loc, message, key=key))

    def shown(self, loc: Loc) -> str:
        """Return the value at `loc` in quotes and as it was written, safe to print."""
        return self.source.shown(loc)

    def shown_key(self, loc: Loc) -> str:
        """Return the key at `loc` in quotes and as it was written, safe to print."""
        return self.source.shown_key(loc)

    def line(self, loc: Loc) -> str:
        """Return where the value at `loc` is, as in `on line 12`."""
        return self.source.line(loc)

    def names(self, section: str, names: Iterable[str]) -> list[str]:
        """Return the names in a section as they were written, to suggest one of them."""
        return [self.source.shown_key((section, name)).strip("'") for name in names]


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `, did you mean 'x'?` for the known word that is most like this one, or nothing."""
    names: Sequence[str] = list(known)
    folded = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), folded, n=1, cutoff=cutoff)
    return f", did you mean '{folded[close[0]]}'?" if close else ""
