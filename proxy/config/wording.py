"""What pydantic found, in the words of the file: where, what must be there, what was meant.

Pydantic's own messages are never shown, since they may hold the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic_core import ErrorDetails

from proxy.config.document import Document
from proxy.config.problems import Loc, Problem, did_you_mean
from proxy.config.shape import dotted, keys_of, places_of, section_at

NOT_BUILT: Final = frozenset({("upstreams", "*", "retry", "budget_percent")})
"""Keys that the format has and this version does not; what else is not built accepts only `off`."""

_KINDS: Final = ("sessions", "*", "kind")
_BALANCE: Final = ("upstreams", "*", "balance")
_LATER_BALANCE: Final = frozenset({"least_requests", "hash(user)", "hash(ip)"})

_WORDS: Final = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of names to values",
    "too_short": "must not be empty",
}
# Where a union offers several kinds, each of them complains; these complaints tell least.
_WEAK: Final = frozenset({"literal_error", "model_type", "none_required"})


def describe(errors: Iterable[ErrorDetails], document: Document) -> list[Problem]:
    """Return one problem for each thing that is wrong with the file's shape."""
    found = [(document.nearest(error["loc"]), error) for error in errors]
    suggested: set[Loc] = set()
    problems = []
    for loc, error in sorted(found, key=lambda each: each[1]["type"] == "missing"):
        if document.is_broken(loc) or _is_outdone(loc, error, found):
            continue
        if error["type"] == "missing":
            missing = (*loc, error["loc"][-1])
            if missing not in suggested:
                problems.append(_missing(loc, str(missing[-1]), document))
        elif error["type"] == "extra_forbidden":
            problem, meant = _unknown(loc, document)
            problems.append(problem)
            suggested.add(meant)
        else:
            key = error["loc"][-1] == "[key]"
            problems.append(document.problem(loc, _message(loc, error, document), key=key))
    return problems


def _is_outdone(loc: Loc, error: ErrorDetails, found: list[tuple[Loc, ErrorDetails]]) -> bool:
    """Say whether another complaint, at the same place or below, tells more than this one."""
    if error["type"] not in _WEAK:
        return False
    return any(
        other is not error and other["type"] not in _WEAK and at[: len(loc)] == loc
        for at, other in found
    )


def _missing(loc: Loc, key: str, document: Document) -> Problem:
    return document.problem(loc, f"the key '{key}' is missing here", key=True)


def _unknown(loc: Loc, document: Document) -> tuple[Problem, Loc]:
    """Return the problem, and the place of the key that was probably meant."""
    written = document.shown_key(loc)
    above = loc[:-1]
    if _matches(loc, NOT_BUILT):
        return document.problem(loc, f"{written} is not built yet in this version", key=True), ()
    section = section_at(above)
    known = list(keys_of(section)) if section is not None else []
    word, elsewhere = written.strip("'"), _elsewhere(loc)
    # A key that is right in another place is rather misplaced than misspelt.
    hint = did_you_mean(word, known, cutoff=0.9 if elsewhere else 0.6)
    meant = (*above, hint.split("'")[1]) if hint else ()
    return document.problem(loc, f"unknown key {written}{hint or elsewhere}", key=True), meant


def _elsewhere(loc: Loc) -> str:
    """Say in which sections a key of this name is known, preferring those near `loc`."""
    found = [path[:-1] for path in places_of(str(loc[-1])) if len(path) > 1]
    near = [path for path in found if path[0] == loc[0]] or [
        path for path in found if path[0] not in ("routes", "tests")
    ]
    names = [dotted(path) for path in near or found]
    return f"; it belongs under {' or '.join(names)}" if 1 <= len(names) <= 3 else ""


def _matches(loc: Loc, patterns: Iterable[tuple[str, ...]]) -> bool:
    return any(
        len(loc) == len(pattern)
        and all(want in ("*", part) for want, part in zip(pattern, loc, strict=True))
        for pattern in patterns
    )


def _message(loc: Loc, error: ErrorDetails, document: Document) -> str:
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    later = _not_built_value(loc, document)
    if later:
        return later
    if kind == "value_error":
        return _own_words(loc, str(context["error"]), document)
    if kind == "literal_error":
        options = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(document.shown(loc).strip("'"), options)
        return (
            f"must be {', '.join(options[:-1])}{' or ' if options[1:] else ''}{options[-1]}{hint}"
        )
    if kind in ("greater_than_equal", "less_than_equal"):
        word, limit = ("at least", "ge") if kind == "greater_than_equal" else ("at most", "le")
        return f"must be {word} {context[limit]}"
    return _WORDS.get(kind, "is not what belongs here")


def _own_words(loc: Loc, message: str, document: Document) -> str:
    """A validator of ours wrote this; what is not built names its key."""
    if message.startswith("is not built"):
        return f"{document.shown_key(loc)} {message}"
    return message


def _not_built_value(loc: Loc, document: Document) -> str:
    """Return what to say about a value that the format has and this version does not."""
    written = document.shown(loc).strip("'")
    only = ""
    if _matches(loc, [_KINDS]):
        only = "only the kind authjs"
    elif _matches(loc, [_BALANCE]) and written in _LATER_BALANCE:
        only = "only round_robin"
    return f"this is not built yet in this version; there is {only}" if only else ""
