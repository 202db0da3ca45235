"""From YAML nodes to plain Python values, with a note of where each value stands.

A place is a `loc`, the way from the root: `("routes", 0, "path")`. Variables are filled in here,
after parsing, so what a variable holds can never become a list, a mapping or a second value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.config.load_yaml import PLAIN, MappingNode, Node, ScalarNode, is_tagged
from proxy.config.problems import Loc
from proxy.config.scalars import Filled, fill, is_utf8, typed

# An alias costs a word and may stand for a whole tree. No honest file has this many values.
_VALUES_MAX: Final = 20_000
# What `${VAR:-}` may leave empty: the key then counts as not given. Elsewhere, for example in a
# list of required roles or as a key, nothing where something was meant would open a door.
_MAY_BE_EMPTY: Final = frozenset({"admin_token", "health_path", "public_origin", "login_url"})
_LEFT_OUT: Final = object()


@dataclass
class Place:
    """Where one value stands, and how it was written."""

    node: Node = field(repr=False)
    key: Node | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    """A scalar's text, variables filled in."""
    is_filled: bool = False
    """Whether there was a variable in it."""


@dataclass
class Complaint:
    """Something that is wrong with a node, found while it was read."""

    node: Node = field(repr=False)
    message: str


class _TooManyValuesError(Exception):
    """The aliases stand for more than any honest file holds."""


class Tree:
    """The values of a document, their places, and the complaints about them."""

    def __init__(self, root: MappingNode, env: Mapping[str, str]) -> None:
        self.places: dict[Loc, Place] = {}
        self.complaints: list[Complaint] = []
        self.broken: set[Loc] = set()
        """Places whose values mean nothing, because of a complaint."""
        self._env = env
        self._open: set[int] = set()
        try:
            self.values: dict[str, Any] = self._value(root, None, ())
        except _TooManyValuesError:
            self.values = {}
            self._complain(root, (), f"the aliases stand for more than {_VALUES_MAX} values")

    def __repr__(self) -> str:
        return f"<Tree places={len(self.places)} complaints={len(self.complaints)}>"

    def _complain(self, node: Node, loc: Loc, message: str) -> None:
        self.complaints.append(Complaint(node, message))
        self.broken.add(loc)

    def _value(self, node: Node, key: Node | None, loc: Loc) -> Any:
        if len(self.places) >= _VALUES_MAX:
            raise _TooManyValuesError
        self.places[loc] = Place(node, key)
        if is_tagged(node):
            self._complain(node, loc, "tags such as !!str are not read here; take it out")
        if isinstance(node, ScalarNode):
            return self._scalar(node, loc)
        if id(node) in self._open:
            self._complain(node, loc, "an alias stands inside the value that it stands for")
            return None
        self._open.add(id(node))
        is_mapping = isinstance(node, MappingNode)
        value: Any = self._mapping(node, loc) if is_mapping else self._list(node, loc)
        self._open.discard(id(node))
        return value

    def _scalar(self, node: ScalarNode, loc: Loc) -> Any:
        filled = fill(node.value, self._env)
        if not is_utf8(node.value):
            filled.complaints.append("an escape here stands for half a character")
        for message in filled.complaints:
            self._complain(node, loc, message)
        if filled.complaints:
            return None
        place = self.places[loc]
        place.text, place.is_filled = filled.text, bool(filled.variables)
        if not filled.text and filled.variables:
            return self._emptied(node, loc, filled)
        value = typed(filled.text) if node.tag == PLAIN else filled.text
        if value is None and filled.variables:
            return filled.text  # What a variable holds may be called null.
        if value is None:
            self._complain(node, loc, "there is no value here; give it one, or take the key out")
        return value

    def _emptied(self, node: ScalarNode, loc: Loc, filled: Filled) -> object:
        if not (filled.may_be_empty and _may_be_left_out(loc)):
            names = " and ".join(filled.variables)
            self._complain(node, loc, f"there is no value here, because {names} is empty")
            return None
        del self.places[loc]
        return _LEFT_OUT

    def _list(self, node: Node, loc: Loc) -> list[Any]:
        values: list[Any] = []
        for item in node.value:
            value = self._value(item, None, (*loc, len(values)))
            if value is not _LEFT_OUT:
                values.append(value)
        return values

    def _mapping(self, node: Node, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, Node] = {}
        for key, item in node.value:
            name = self._key(key)
            if name is None:
                continue
            if name in first:
                line = first[name].start_mark.line + 1
                message = f"duplicate key '{key.value}', first on line {line}"
                self.complaints.append(Complaint(key, message))
                continue
            first[name] = key
            value = self._value(item, key, (*loc, name))
            if value is not _LEFT_OUT:
                values[name] = value
        return values

    def _key(self, key: Node) -> str | None:
        if not isinstance(key, ScalarNode) or is_tagged(key):
            self.complaints.append(Complaint(key, "a key must be plain text"))
            return None
        if key.value == "<<" and key.tag == PLAIN:
            message = "merge keys (<<) are not read here; write the keys out"
            self.complaints.append(Complaint(key, message))
            return None
        filled = fill(key.value, self._env)
        messages = filled.complaints or ([] if filled.text else ["a key must not be empty"])
        self.complaints += [Complaint(key, message) for message in messages]
        return None if messages else filled.text


def _may_be_left_out(loc: Loc) -> bool:
    if len(loc) == 1:
        return loc[0] in _MAY_BE_EMPTY
    # `secret: [${NEW}, ${OLD:-}]` is the usual way to have two secrets for a while only.
    return loc[0] == "sessions" and len(loc) == 4 and loc[2] == "secret"
