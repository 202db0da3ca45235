"""Path and host patterns: reading, comparing, and agreeing with those that match requests."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.patterns import Pattern, check_host, offered, shared_methods
from proxy.core import pattern as matching


@pytest.mark.parametrize(
    ("text", "segments", "is_open"),
    [
        ("/", ("",), False),
        ("/**", (), True),
        ("/api", ("api",), False),
        ("/api/", ("api", ""), False),
        ("/api/**", ("api",), True),
        ("/users/*/posts", ("users", "*", "posts"), False),
        ("/a%20b/%C3%A9", ("a%20b", "%C3%A9"), False),
        ("/a.b-c_d~e!$&'()+,;=:@", ("a.b-c_d~e!$&'()+,;=:@",), False),
    ],
)
def test_a_pattern_is_read(text: str, segments: tuple[str, ...], is_open: bool) -> None:
    assert Pattern.parse(text) == Pattern(segments, is_open)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with /"),
        ("api", "begins with /"),
        ("**", "begins with /"),
        ("/a//b", "no empty segments"),
        ("//a", "no empty segments"),
        ("/a//**", "no empty segments"),
        ("/a/**/b", "** stands alone"),
        ("/a/***", "** stands alone"),
        ("/a**", "** stands alone"),
        ("/*.css", "one whole segment"),
        ("/a*", "one whole segment"),
        ("/.", "no segments such as"),
        ("/a/../b", "no segments such as"),
        ("/...", "no segments such as"),
        ("/a/;x", "no segments such as"),
        ("/a?b", "no query"),
        ("/a#b", "no fragment"),
        ("/a b", "must escape"),
        ("/a\\b", "must escape"),
        ('/a"b', "must escape"),
        ("/a{b}", "must escape"),
        ("/%", "must escape"),
        ("/%zz", "must escape"),
        ("/a\nb", "must escape"),
        ("/é", "is ASCII"),
        ("/%2F", "no escaped slashes"),
        ("/%5c", "no escaped slashes"),
        ("/%00", "no escaped slashes"),
        ("/a%20", "no escaped slashes"),
        ("/%61", "without escape"),
        ("/%2e%2E", "without escape"),
        ("/%c3%a9", "in capitals"),
    ],
)
def test_other_patterns_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"a path|stands|written") as caught:
        Pattern.parse(text)
    assert message in str(caught.value)


SEGMENTS = st.sampled_from(
    ["a", "b", "A", "%41", "%C3%A9", "*", "", ".", "a;b", "a.b", "é", "x y", "**"]
)
TEXTS = st.lists(SEGMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(TEXTS | st.text().map(lambda text: f"/{text}"))
def test_a_pattern_that_is_accepted_is_accepted_by_the_matcher(text: str) -> None:
    try:
        pattern = Pattern.parse(text)
    except ValueError:
        return
    assert str(matching.Pattern.parse(text)) == text
    assert matching.Pattern.parse(text).open == pattern.is_open


PATTERNS = [
    *("/", "/**", "/a", "/a/", "/a/**", "/*", "/*/**"),
    *("/a/b", "/a/*", "/*/b", "/*/*", "/a/b/**", "/a/*/c"),
]
PAIRS = list(product(PATTERNS, PATTERNS))
PATHS = [
    *("/", "/a", "/a/", "/b", "/a/b", "/a/c", "/b/b", "/b/c"),
    *("/a/b/c", "/a/d/c", "/b/c/d", "/a/b/c/d", "/a/b/"),
]


def matched(pattern: str) -> set[str]:
    """Return which of the paths match, by the rules of the matcher itself."""
    tree: matching.PatternTree[bool] = matching.PatternTree()
    tree.add(matching.Pattern.parse(pattern), True)
    return {path for path in PATHS if tree.first(path.split("/"))}


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_patterns_are_compared_as_they_match(one: str, two: str) -> None:
    first, second = Pattern.parse(one), Pattern.parse(two)
    assert first.overlaps(second) == bool(matched(one) & matched(two))
    assert first.covers(second) == (matched(one) >= matched(two))


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_the_smaller_rank_wins_where_both_match(one: str, two: str) -> None:
    shared = matched(one) & matched(two)
    if one == two or not shared:
        return
    tree: matching.PatternTree[str] = matching.PatternTree()
    for text in (one, two):
        tree.add(matching.Pattern.parse(text), text)
    winner = min((one, two), key=lambda text: Pattern.parse(text).rank)
    assert {tree.first(path.split("/")) for path in shared} == {winner}


@pytest.mark.parametrize(
    ("text", "is_literal", "wildcards", "folded"),
    [
        ("/A/b/", True, (), "/a/b"),
        ("/A/*/**", False, ("*", "**"), "/a/*/**"),
        ("/", True, (), "/"),
    ],
)
def test_a_pattern_knows_its_wildcards_and_its_folded_self(
    text: str, is_literal: bool, wildcards: tuple[str, ...], folded: str
) -> None:
    pattern = Pattern.parse(text)
    assert pattern.is_literal is is_literal
    assert pattern.wildcards == wildcards
    assert pattern.folded() == Pattern.parse(folded)


@pytest.mark.parametrize(
    "text",
    ["api.example.com", "*.example.com", "API.example.com", "localhost", "127.0.0.1", "[::1]"],
)
def test_a_host_is_a_name_or_a_wildcard(text: str) -> None:
    check_host(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api.example.com:8080", "without a port"),
        ("https://api.example.com", "without scheme"),
        ("api.example.com/x", "without scheme"),
        ("*", r"\* stands for"),
        ("api.*.com", r"\* stands for"),
        ("a*.example.com", r"\* stands for"),
        ("::1", "in brackets"),
        ("*.[::1]", "in brackets"),
        ("müller.example", "xn-- form"),
        ("a b", "must be a host name"),
        ("", "must be a host name"),
        ("*.", "must be a host name"),
    ],
)
def test_other_hosts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_host(text)


def test_get_implies_head() -> None:
    assert offered(["GET"]) == {"GET", "HEAD"}
    assert offered(["POST"]) == {"POST"}


@pytest.mark.parametrize(
    ("one", "two", "shared"),
    [
        (None, None, None),
        (None, ["GET"], {"GET", "HEAD"}),
        (["POST"], None, {"POST"}),
        (["GET"], ["HEAD"], {"HEAD"}),
        (["GET"], ["POST"], set()),
    ],
)
def test_routes_share_methods(
    one: list[str] | None, two: list[str] | None, shared: set[str] | None
) -> None:
    assert shared_methods(one, two) == shared
