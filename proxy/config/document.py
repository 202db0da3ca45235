"""A configuration file: its values, and problems with them shown where they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from proxy.config.database import DatabaseConfig
from proxy.config.fields import Section
from proxy.config.limits import RedisConfig
from proxy.config.load_yaml import (
    MappingNode,
    Node,
    ScalarNode,
    SyntaxProblem,
    compose,
    lines_of,
)
from proxy.config.problems import Loc, Problem
from proxy.config.scalars import typed
from proxy.config.sessions import JwtOptions, SessionConfig
from proxy.config.snippet import (
    COVER,
    Span,
    covered_in_text,
    names_secret,
    shows_secret,
    snippet,
)
from proxy.config.tree import Tree


class Document:
    """A file. `tree` holds its values, `problems` what was already wrong with them."""

    def __init__(self, name: str, text: str, env: Mapping[str, str]) -> None:
        self.name = name
        self._lines = lines_of(text)
        self._tree: Tree | None = None
        try:
            root = compose(text)
        except SyntaxProblem as error:
            self._covered = covered_in_text(self._lines)
            self.problems = [self._at(error.line, error.column, error.message, ())]
            return
        self._covered = list(_covered(root, (), set()))
        self._tree = tree = Tree(root, env)
        self.problems = [self._at_node(each.node, each.message, ()) for each in tree.complaints]

    def __repr__(self) -> str:
        return f"<Document {self.name} problems={len(self.problems)}>"

    @property
    def values(self) -> dict[str, Any] | None:
        """The values as plain Python, or None when the text is not YAML."""
        return None if self._tree is None else self._tree.values

    def problem(self, loc: Loc, message: str, *, key: bool = False) -> Problem:
        """Return a problem with the value at `loc`, or with its key.

        Parts of `loc` that the file does not have, such as pydantic's union tags, are passed over;
        what is missing from a mapping is shown at the mapping.
        """
        found = self.nearest(loc)
        if self._tree is None or found not in self._tree.places:
            return Problem(self.name, 0, 0, message, loc)
        place = self._tree.places[found]
        return self._at_node(place.key if key and place.key else place.node, message, found)

    def nearest(self, loc: Loc) -> Loc:
        """Return `loc` without the parts that the file does not have."""
        found: Loc = ()
        for part in loc:
            if self._tree is not None and (*found, part) in self._tree.places:
                found = (*found, part)
        return found

    def shown(self, loc: Loc) -> str:
        """Return the value at `loc` in quotes and as it was written, safe to print."""
        node = self._node(self.nearest(loc))
        if not isinstance(node, ScalarNode):
            return "this"
        return f"'{COVER}'" if holds_secret(loc, node.value) else f"'{node.value}'"

    def shown_key(self, loc: Loc) -> str:
        """Return the key at `loc` in quotes and as it was written, variables not filled in."""
        place = self._tree.places.get(loc) if self._tree is not None else None
        key = place.key if place is not None else None
        return f"'{key.value}'" if isinstance(key, ScalarNode) else f"'{loc[-1]}'"

    def line(self, loc: Loc) -> str:
        """Return where the value at `loc` is, as in `on line 12`."""
        node = self._node(self.nearest(loc))
        return "above" if node is None else f"on line {node.start_mark.line + 1}"

    def is_broken(self, loc: Loc) -> bool:
        """Say whether a problem with the value at `loc`, or around it, is noted already."""
        broken = self._tree.broken if self._tree is not None else {()}
        return any(loc[:length] in broken for length in range(len(loc) + 1))

    def reread(self, loc: Loc) -> bool:
        """Read a scalar that came from a variable the other way: text by its type, or as text.

        Say whether that changed the value. `${PORT}` in quotes may have to be a number, and a
        secret that consists of digits has to stay text.
        """
        place = self._tree.places.get(loc) if self._tree is not None else None
        if place is None or not place.is_filled:
            return False
        holder: Any = self.values
        for part in loc[:-1]:
            holder = holder[part]
        now = holder[loc[-1]]
        other = typed(place.text) if isinstance(now, str) else place.text
        if other is None or type(other) is type(now):
            return False
        holder[loc[-1]] = other
        return True

    def _node(self, loc: Loc) -> Node | None:
        place = self._tree.places.get(loc) if self._tree is not None else None
        return place.node if place is not None else None

    def _at_node(self, node: Node, message: str, loc: Loc) -> Problem:
        mark = node.start_mark
        return self._at(mark.line + 1, mark.column + 1, message, loc)

    def _at(self, line: int, column: int, message: str, loc: Loc) -> Problem:
        shown = snippet(self._lines, self._covered, line, column)
        return Problem(self.name, line, column, message, loc, shown)


def holds_secret(loc: Loc, raw: str) -> bool:
    """Say whether the value at `loc`, written as `raw`, must not be shown."""
    if "PRIVATE KEY" in raw:
        return True
    names = [part for part in loc if isinstance(part, str)]
    if not names or not shows_secret(raw) or (names[-1] == "file" and len(names) > 1):
        return False
    if names[0] == "tests" and names[1:2] in (["headers"], ["cookies"]):
        return True
    if names[0] == "sessions" and not _is_known_of_session(names[2:]):
        return True
    if names[0] == "sessions" and names[2:3] == ["database"]:
        return names[3:4] != ["tables"] and _is_secret_of_server(names[3:], DatabaseConfig)
    if names[0] == "redis":
        return _is_secret_of_server(names[1:], RedisConfig)
    # The second name is the operator's own: an upstream may well be called "token".
    is_named = names[0] in ("sessions", "upstreams")
    return any(names_secret(name) for name in (names[2:] if is_named else names))


def _is_known_of_session(names: list[str]) -> bool:
    """Say whether these keys are a session's, as opposed to a slip that may hold its secret."""
    if not names or not _is_like(names[0], SessionConfig):
        return False
    return names[0] != "jwt" or len(names) < 2 or _is_like(names[1], JwtOptions)


def _is_secret_of_server(names: list[str], section: type[Section]) -> bool:
    """Say whether these keys of a server that is signed in to hold a secret, as slips may, too."""
    if not names or names[0] in ("url", "password"):
        return True
    return not _is_like(names[0], section) or bool(
        get_close_matches(names[0], ("url", "password"), 1, 0.6)
    )


def _is_like(name: str, section: type[Section]) -> bool:
    """Say whether the name is one of the section's keys, or nearly."""
    return bool(get_close_matches(name, section.model_fields, 1, 0.75))


def _covered(node: Node, loc: Loc, seen: set[tuple[int, bool]]) -> Iterator[Span]:
    """Yield the spans of what must not be shown, duplicate and unknown keys included."""
    if isinstance(node, ScalarNode):
        if holds_secret(loc, node.value):
            start, end = node.start_mark, node.end_mark
            yield Span(start.line, start.column, end.line, end.column)
        return
    # Once as a secret and once as none is enough for what an alias repeats.
    visit = (id(node), holds_secret(loc, ""))
    if visit in seen:
        return
    seen.add(visit)
    for position, item in enumerate(node.value):
        if not isinstance(node, MappingNode):
            yield from _covered(item, (*loc, position), seen)
        elif isinstance(item[0], ScalarNode):
            yield from _covered(item[1], (*loc, item[0].value), seen)
