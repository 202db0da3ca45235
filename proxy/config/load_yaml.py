"""From the text of a file to YAML nodes with their places, or to one problem in plain words.

PyYAML does the reading. Its resolver, which knows YAML 1.1's types, is replaced by one that only
tells quoted scalars from plain ones. Others get YAML's node types from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, cast

from yaml.composer import Composer
from yaml.error import Mark, MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

__all__ = [
    "MAX_BYTES",
    "PLAIN",
    "QUOTED",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SyntaxProblem",
    "compose",
    "is_tagged",
    "lines_of",
]

MAX_BYTES: Final = 1 << 20
"""No configuration is larger; a file that is, is another file."""

PLAIN: Final = "plain"
QUOTED: Final = "quoted"
_UNTAGGED: Final = frozenset({PLAIN, QUOTED, "list", "mapping"})


# YAML 1.1 section 4.1.4, which PyYAML follows in this; YAML 1.2 has only the first three.
_LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass
class SyntaxProblem(Exception):
    """What makes the text not YAML, or not a YAML that is read here. Counts from 1."""

    line: int
    column: int
    message: str


def lines_of(text: str) -> list[str]:
    """Return the lines as PyYAML counts them."""
    return _LINE_BREAK.split(text)


class _Resolver:
    """Stands where PyYAML's types would be decided; the answer becomes the node's tag."""

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else QUOTED
        return "list" if kind is SequenceNode else "mapping"

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """Only path resolvers would need this."""

    def ascend_resolver(self) -> None:
        """Only path resolvers would need this."""


class _Loader(Reader, Scanner, Parser, Composer, _Resolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


def compose(text: str) -> MappingNode:
    """Return the root of the document, which is a mapping; else SyntaxProblem."""
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise SyntaxProblem(0, 0, "the file is larger than 1MiB")
    try:
        root = _Loader(text).get_single_node()
    except ReaderError as error:
        raise _unreadable(text, error) from None
    except MarkedYAMLError as error:
        raise _unparsable(text, error) from None
    except RecursionError:
        raise SyntaxProblem(0, 0, "the file is nested too deeply") from None
    if root is None:
        raise SyntaxProblem(0, 0, "the file is empty; it needs at least upstreams and routes")
    if not isinstance(root, MappingNode):
        place = root.start_mark
        raise SyntaxProblem(place.line + 1, place.column + 1, "the file must be a mapping of keys")
    return root


def is_tagged(node: Node) -> bool:
    """Say whether the node carries a tag such as `!!str` or `!secret`."""
    return node.tag not in _UNTAGGED


def _unreadable(text: str, error: ReaderError) -> SyntaxProblem:
    before = text[: error.position]
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    return SyntaxProblem(
        line, column, f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
    )


# The beginning of what PyYAML says -> what we say. The exceptions carry nothing else to go by.
_AT_THE_PROBLEM: Final = {
    "mapping values are not allowed here": (
        "a colon and a space begin a value, which is not allowed here; "
        "text that holds them needs quotes, and keys of one mapping the same indentation"
    ),
    "sequence entries are not allowed here": "a list entry is not allowed here",
    "but found another document": "only one document is read; take out what follows ---",
    "found unknown escape character": (
        "a backslash in double quotes begins an escape, and this is none; use single quotes"
    ),
    "expected escape sequence": "this escape needs more hexadecimal digits",
    "expected <block end>": "this does not fit in here; check the indentation and the line above",
}
_AT_THE_BEGINNING: Final = {
    "could not find expected ':'": "a key needs a colon and a space after it",
    "found unexpected end of stream": "this quote is never closed",
    "found unexpected document separator": "this quote is never closed",
    "expected ',' or ']'": "this list in brackets is not closed, or a comma is missing in it",
    "expected ',' or '}'": "this mapping in braces is not closed, or a comma is missing in it",
}
_NEEDS_QUOTES: Final = "*&!%@`|>"


def _unparsable(text: str, error: MarkedYAMLError) -> SyntaxProblem:
    problem = error.problem or ""
    mark = cast(
        Mark, error.problem_mark
    )  # Every error of the scanner, parser and composer has one.
    begin = error.context_mark or mark
    for start, message in _AT_THE_BEGINNING.items():
        if problem.startswith(start):
            if "expected ','" in start:
                message += _about_braces(text, begin, mark)
            return SyntaxProblem(begin.line + 1, begin.column + 1, message)
    for start, message in _AT_THE_PROBLEM.items():
        if problem.startswith(start):
            return SyntaxProblem(mark.line + 1, mark.column + 1, message)
    place = begin if (error.context or "").startswith("while scanning a") else mark
    found = _char_at(text, place.line, place.column)
    return SyntaxProblem(place.line + 1, place.column + 1, _about_character(found))


def _char_at(text: str, line: int, column: int) -> str:
    lines = lines_of(text)
    return lines[line][column : column + 1] if line < len(lines) else ""


def _about_braces(text: str, begin: Mark, mark: Mark) -> str:
    """Say what is usually wrong, if it is that: characters that mean something only in braces."""
    if "${" in lines_of(text)[begin.line]:
        return '; inside [...] and {...} a variable needs quotes, as in "${VAR}"'
    if _char_at(text, mark.line, mark.column) == "?":
        return "; inside [...] and {...} a value with ? in it needs quotes"
    return ""


def _about_character(char: str) -> str:
    if char == "\t":
        return "a tab cannot indent YAML or begin a value; use spaces"
    if char == ":":
        return 'nothing stands before this colon; an address needs quotes, as in "[::]:8080"'
    if char and char in _NEEDS_QUOTES:
        return f"a value that begins with {char} needs quotes"
    return "this is not YAML"
