"""How commands talk: results on standard output, complaints on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence


class UsageError(Exception):
    """The command was called in a way that has no meaning; exit code 2. The message says what to
    do instead.
    """


def complain(command: str, message: str) -> None:
    """Say what went wrong, in one line that begins with the command."""
    print(f"gatelodge {command}: {message}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines with aligned columns, two spaces between them."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def pairs(items: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Return one `name  value` line for each item, values aligned, further lines of a value
    below its first.
    """
    width = max((len(name) for name, _ in items), default=0) + 2
    under = "\n" + indent + " " * width
    return "\n".join(
        f"{indent}{name:<{width}}{under.join(value.splitlines())}" for name, value in items
    )
