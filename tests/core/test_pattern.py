from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pattern import Pattern, PatternTree

GOOD = {
    "/": (("",), False),
    "/**": ((), True),
    "/api": (("api",), False),
    "/api/": (("api", ""), False),
    "/api/**": (("api",), True),
    "/users/*/posts/*": (("users", None, "posts", None), False),
    "/*/**": ((None,), True),
    "/.well-known/v1:batch": ((".well-known", "v1:batch"), False),
    "/caf%C3%A9": (("caf%C3%A9",), False),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_pattern_is_read_and_written(text: str) -> None:
    pattern = Pattern.parse(text)
    assert (pattern.segments, pattern.open) == GOOD[text]
    assert str(pattern) == text


BAD = {
    "": "begins with /",
    "api": "begins with /",
    "/a b": "visible ASCII",
    "/a?b": "visible ASCII",
    "/a#b": "visible ASCII",
    "/caf\xe9": "visible ASCII",
    "/a\n": "visible ASCII",
    "/a//b": "empty segments",
    "//a": "empty segments",
    "/a//**": "empty segments",
    "//": "empty segments",
    "/**/a": "whole segment",
    "/a*": "whole segment",
    "/***": "whole segment",
    "/**/": "whole segment",
    "/a/../b": "dot segment",
    "/a/%2e/b": "dot segment",
    "/a/;x": "dot segment",
    "/a%2fb": "encoded slashes",
    "/a%2Fb": "encoded slashes",
    "/a%": "malformed escape",
    "/a%00": "control character",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_pattern_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match=BAD[text]):
        Pattern.parse(text)


def test_patterns_fold_as_paths_do() -> None:
    pattern = Pattern.parse("/Users;v=1/*/%41dmin./")
    assert str(pattern.folded()) == "/users/*/admin"
    assert str(pattern.folded(case_sensitive=True)) == "/Users/*/Admin"
    assert str(pattern.folded(strict_slash=True)) == "/users/*/admin/"
    assert str(Pattern.parse("/").folded()) == "/"
    assert str(Pattern.parse("/%2A/**").folded().segments) == "('*',)"


def tree(*patterns: str) -> PatternTree[str]:
    grown: PatternTree[str] = PatternTree()
    for text in patterns:
        grown.add(Pattern.parse(text), text)
    return grown


def found(grown: PatternTree[str], path: str) -> str | None:
    first = grown.first(path.split("/"))
    every = grown.every(path.split("/"))
    assert first == (every[0] if every else None)
    return first


def test_a_folder_pattern_matches_the_folder_and_all_below() -> None:
    grown = tree("/api/**")
    assert [found(grown, path) for path in ("/api", "/api/", "/api/x", "/api/x/y", "/api//x")] == [
        "/api/**"
    ] * 5
    assert [found(grown, path) for path in ("/", "/apix", "/API", "/x/api")] == [None] * 4


def test_a_star_matches_one_segment_that_is_not_empty() -> None:
    grown = tree("/users/*")
    assert found(grown, "/users/5") == "/users/*"
    assert [found(grown, path) for path in ("/users", "/users/", "/users/5/", "/users/5/x")] == [
        None
    ] * 4


def test_a_literal_matches_exactly() -> None:
    grown = tree("/api", "/slash/", "/")
    assert [found(grown, path) for path in ("/api", "/slash/", "/")] == ["/api", "/slash/", "/"]
    assert [found(grown, path) for path in ("/api/", "/slash", "/Api", "//")] == [None] * 4


def test_the_most_specific_pattern_wins_segment_by_segment() -> None:
    grown = tree("/**", "/a/**", "/a/*", "/a/b", "/*/b/c", "/a/*/d", "/a/b/**")
    expected = {
        "/": "/**",
        "/a": "/a/**",
        "/a/b": "/a/b",
        "/a/x": "/a/*",
        "/a/b/c": "/a/b/**",
        "/a/b/d": "/a/b/**",
        "/a/x/d": "/a/*/d",
        "/a/x/e": "/a/**",
        "/x/b/c": "/*/b/c",
        "/x/b/d": "/**",
    }
    assert {path: found(grown, path) for path in expected} == expected


def test_every_lists_all_matches_from_the_most_specific() -> None:
    grown = tree("/**", "/a/**", "/*/b", "/a/*", "/a/b/**", "/a/b", "/b")
    assert grown.every(["", "a", "b"]) == ["/a/b", "/a/b/**", "/a/*", "/a/**", "/*/b", "/**"]
    assert grown.every(["", "c", "c"]) == ["/**"]
    assert tree("/a").every(["", "b"]) == []


def test_a_later_value_replaces_an_earlier_one() -> None:
    grown = tree("/a")
    grown.add(Pattern.parse("/a"), "new")
    assert found(grown, "/a") == "new"


segments = st.lists(st.sampled_from(["a", "b", "*"]), max_size=3)
patterns = st.builds(
    lambda parts, is_open: "/" + "/".join([*parts, "**"] if is_open else parts),
    segments,
    st.booleans(),
)
paths = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def matches(pattern: Pattern, path: str) -> bool:
    """The definition, spelt out: what the tree must agree with."""
    parts = path.split("/")[1:]
    fixed = len(pattern.segments)
    if len(parts) < fixed or (len(parts) > fixed and not pattern.open):
        return False
    return all(
        bool(part) if want is None else part == want
        for part, want in zip(parts, pattern.segments, strict=False)
    )


@given(st.sets(patterns, max_size=8), paths)
def test_the_tree_finds_what_trying_all_patterns_in_order_finds(texts: set[str], path: str) -> None:
    tried = sorted((Pattern.parse(text) for text in texts), key=lambda pattern: pattern.order)
    matching = [str(pattern) for pattern in tried if matches(pattern, path)]
    grown = tree(*texts)
    assert grown.every(path.split("/")) == matching
    assert found(grown, path) == (matching[0] if matching else None)
