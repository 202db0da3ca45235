from __future__ import annotations

import pytest

from proxy.core.rewrite import Rewrite
from proxy.core.target import Host, Target, canonicalise
from proxy.errors import AmbiguousPath


def target(sent: str) -> Target:
    return canonicalise(sent, "GET", Host("h", None))


STRIPPED = {
    "below": ("/svc/**", "/svc", "/svc/x/y?q=1", "/x/y?q=1"),
    "the folder itself": ("/svc/**", "/svc", "/svc", "/"),
    "the folder with a slash": ("/svc/**", "/svc", "/svc/", "/"),
    "trailing slash kept": ("/svc/**", "/svc", "/svc/x/", "/x/"),
    "empty query kept": ("/svc/**", "/svc", "/svc/x?", "/x?"),
    "bytes kept": ("/svc/**", "/svc", "/svc/A%2fb;c/%7E//d", "/A%2fb;c/%7E//d"),
    "two segments": ("/a/b/**", "/a/b", "/a/b/c", "/c"),
    "wildcards stay": ("/svc/*/x", "/svc", "/svc/A%20/x", "/A%20/x"),
    "exact path": ("/svc", "/svc", "/svc?x", "/?x"),
}


@pytest.mark.parametrize(("path", "prefix", "sent", "seen"), STRIPPED.values(), ids=STRIPPED)
def test_a_prefix_is_cut_and_named(path: str, prefix: str, sent: str, seen: str) -> None:
    assert Rewrite.strip(path, prefix).apply(target(sent)) == (seen, prefix)


@pytest.mark.parametrize("sent", ["/svc//evil.test/x", "/svc//", "/svc///x"])
def test_what_is_left_must_be_a_path_too(sent: str) -> None:
    """PA-71: after the cut, the rest would be read as the name of a host."""
    with pytest.raises(AmbiguousPath):
        Rewrite.strip("/svc/**", "/svc").apply(target(sent))


@pytest.mark.parametrize("prefix", ["/sv", "/other", "/svc/x/y", "/svc/", "/", "/**", "/svc/*"])
def test_a_prefix_that_is_not_the_beginning_of_the_path_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="strip_prefix"):
        Rewrite.strip("/svc/*/**", prefix)


REPLACED = {
    "folder": ("/rw/**", "/public/**", "/rw/x/y?q", "/public/x/y?q"),
    "the folder itself": ("/rw/**", "/public/**", "/rw", "/public"),
    "the folder with a slash": ("/rw/**", "/public/**", "/rw/", "/public/"),
    "empty segments kept": ("/rw/**", "/public/**", "/rw//x", "/public//x"),
    "to the root": ("/rw/**", "/**", "/rw/x", "/x"),
    "the folder to the root": ("/rw/**", "/**", "/rw", "/"),
    "wildcards in order": ("/a/*/b/*/**", "/*/x/*/**", "/a/1/b/2/3/4", "/1/x/2/3/4"),
    "exact": ("/old", "/new/place", "/old", "/new/place"),
    "bytes kept": ("/a/*", "/b/*", "/a/%41%2fb;x", "/b/%41%2fb;x"),
}


@pytest.mark.parametrize(("path", "rewrite", "sent", "seen"), REPLACED.values(), ids=REPLACED)
def test_a_path_is_rewritten_with_its_wildcards(
    path: str, rewrite: str, sent: str, seen: str
) -> None:
    assert Rewrite.replace(path, rewrite).apply(target(sent)) == (seen, None)


def test_the_result_of_a_rewrite_is_checked() -> None:
    with pytest.raises(AmbiguousPath):
        Rewrite.replace("/rw/**", "/**").apply(target("/rw//evil.test"))


@pytest.mark.parametrize("rewrite", ["/public", "/public/*", "/public/*/**", "/*/*"])
def test_other_wildcards_than_those_of_the_path_are_refused(rewrite: str) -> None:
    with pytest.raises(ValueError, match="wildcards"):
        Rewrite.replace("/rw/**", rewrite)
