"""docs/paths.md says what becomes of a path: every row of its tables is sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from proxy.core.routing import RouteTable
from proxy.core.rules import compile_rules
from proxy.core.target import Host, canonicalise
from proxy.errors import ProxyError
from tests.support.exchanges import SECRET, config_of

_TEXT: Final = (Path(__file__).parents[1] / "docs" / "paths.md").read_text(encoding="utf-8")
_ROW: Final = re.compile(r"\| `([^`]+)` \| (.+?) \|(.*)")
_SECTIONS: Final = dict(
    section.split("\n", 1) for section in re.split(r"^## ", _TEXT, flags=re.MULTILINE)[1:]
)
_REFUSED: Final = "Paths that are refused everywhere"
HOST: Final = Host("api.example.com", None)


def rows() -> list[tuple[str, str, str]]:
    """Return every row: what is sent, what becomes of it, and the route that it says."""
    found = []
    for title, section in _SECTIONS.items():
        for sent, outcome, rest in _ROW.findall(section):
            if title == _REFUSED:
                outcome, rest = "400 `ambiguous_path`", ""
            found.append((sent, outcome, rest.strip(" |") if "route" in section else ""))
    return found


def table() -> RouteTable:
    [text] = re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
    settings = {
        "sessions": {"web": {"secret": SECRET}},
        "upstreams": {"api": {"endpoints": ["http://127.0.0.1:8000"]}},
        **yaml.safe_load(text),
    }
    return compile_rules(config_of(yaml.safe_dump(settings))).routes


def outcome(sent: str) -> tuple[str, str]:
    """Return what becomes of `sent`, in the words of the document, and its route."""
    routes = table()
    try:
        target = canonicalise(sent, "GET", HOST)
        route = routes.match(HOST.name, target, "GET")
        seen = target.path if target.query is None else f"{target.path}?{target.query}"
        if route.rewrite is not None:
            seen, _ = route.rewrite.apply(target)
            routes.check_rewritten(route, HOST.name, canonicalise(seen, "GET", HOST), "GET")
    except ProxyError as error:
        return f"{error.status} `{error.code}`", ""
    return ("passes" if seen == sent else f"passes as `{seen}`"), route.path


@pytest.mark.parametrize(("sent", "expected", "said"), rows(), ids=[row[0] for row in rows()])
def test_what_the_document_says_of_a_path_is_so(sent: str, expected: str, said: str) -> None:
    found, route = outcome(sent)
    assert found == expected
    if route and said.startswith("`/"):
        assert said.partition("`,")[0].strip("`") == route


def test_every_table_was_read() -> None:
    counts = [len(_ROW.findall(section)) for section in _SECTIONS.values()]
    assert len(counts) == 4
    assert all(count >= 7 for count in counts)
    assert sum(counts) == sum(line.startswith("| `") for line in _TEXT.splitlines())
