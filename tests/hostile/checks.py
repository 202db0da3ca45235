"""Holds an outcome against what its case expects, and says in words what is wrong. Pure.

The words of `upstream_assert` and `response_assert` are the tables at the end; a word that is not
in them is a failure, never ignored. An upstream check speaks of every request that was recorded, a
response check of every final answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from tests.hostile.cases import Case, load_others
from tests.hostile.outcome import Outcome
from tests.support.answers import Answer
from tests.support.upstream import Recorded

Check = Callable[[str, Outcome], bool]
"""Argument and outcome -> whether it is as it should be."""

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PROBLEM: Final = "application/problem+json"
_OTHERS: Final = load_others()


def failures(case: Case, outcome: Outcome, *, own_errors: bool = True) -> list[str]:
    """Return everything that is not as `case` expects it.

    `own_errors`: errors must look as this product's own do, and what it adds to every request must
    be there. Others are held to neither: no attack is about it.
    """
    if not own_errors:
        case = _of_others(case)
    return [
        *outcome.problems,
        *_status(case, outcome),
        *_reached(case, outcome),
        *_words("upstream_assert", case.upstream_asserts, UPSTREAM_CHECKS, outcome),
        *_words("response_assert", case.answer_asserts, ANSWER_CHECKS, outcome),
        *_cost(case, outcome),
        *_always(outcome),
        *(_problems(case, outcome) if own_errors else ()),
    ]


def _of_others(case: Case) -> Case:
    """Return the case with what is as good in others, and without what is our own manners."""
    return replace(
        case,
        statuses=case.statuses | _OTHERS.get(case.id, frozenset()),
        upstream_asserts=tuple(
            text.replace("header_valid:", "if_any_header_valid:", 1)
            if text.startswith("header_valid:")
            else text
            for text in case.upstream_asserts
        ),
        answer_asserts=tuple(t for t in case.answer_asserts if t != f"content_type:{_PROBLEM}"),
    )


def _status(case: Case, outcome: Outcome) -> Iterator[str]:
    if not outcome.final:
        if not outcome.closed:
            yield "neither an answer nor the end of the connection"
        elif not case.may_close:
            yield f"closed without an answer, not {sorted(case.statuses)}"
    for status in outcome.statuses:
        if status not in case.statuses:
            yield f"status {status}, not {sorted(case.statuses)}"


def _reached(case: Case, outcome: Outcome) -> Iterator[str]:
    targets = [request.target for request in outcome.requests]
    if case.upstream == "none" and (targets or outcome.upstream_bytes):
        yield f"the upstream was reached: {targets or outcome.upstream_bytes[:200]!r}"
    if case.upstream == "one" and len(targets) != 1:
        yield f"the upstream got {len(targets)} requests, not one: {targets}"
    if case.upstream == "none_or_public":
        for target in targets:
            if not target.startswith("/public/"):
                yield f"the upstream was reached outside /public/: {target}"


def _words(
    kind: str, asserts: tuple[str, ...], table: dict[str, Check], outcome: Outcome
) -> Iterator[str]:
    for text in asserts:
        word, _, argument = text.partition(":")
        if word not in table:
            yield f"{kind}: unknown word {word!r}"
        elif not table[word](argument, outcome):
            yield f"{kind}: not {text!r}"


def _cost(case: Case, outcome: Outcome) -> Iterator[str]:
    if case.max_ms is not None and outcome.milliseconds > case.max_ms:
        yield f"took {outcome.milliseconds:.0f} ms, not at most {case.max_ms:.0f}"


def _always(outcome: Outcome) -> Iterator[str]:
    """What holds in every case: only HTTP goes either way, and the gateway survives."""
    if not outcome.alive:
        yield "the gateway does not serve others any more"
    for violation in outcome.violations:
        yield f"the upstream received what is not HTTP/1.1: {violation}"
    if outcome.answers.garbage:
        yield f"the client received what is not HTTP/1.1: {outcome.answers.rest[:200]!r}"
    if outcome.asked_to_close and not outcome.closed:
        yield "asked to close the connection, the gateway left it open"


def _problems(case: Case, outcome: Outcome) -> Iterator[str]:
    """Our own errors are problem documents that nobody caches (RFC 9457; RFC 9111, 5.2.2.5).

    No upstream of these cases answers with an error, so all that clients get are the gateway's. The
    admin listener does not speak to clients.
    """
    for answer in outcome.final:
        if answer.status >= 400 and case.profile != "admin":
            yield from _problem(answer)


def _problem(answer: Answer) -> Iterator[str]:
    if answer.values("Content-Type") != [_PROBLEM]:
        yield f"{answer.status} of type {answer.values('Content-Type')}, not {_PROBLEM}"
        return
    if "no-store" not in _list(answer, "Cache-Control"):
        yield f"{answer.status} without Cache-Control: no-store"
    if answer.values("Server"):
        yield f"{answer.status} with a Server banner"
    try:
        document = json.loads(answer.body)
    except ValueError:
        yield f"{answer.status} with a body that is not JSON"
        return
    if document.get("status") != answer.status or not document.get("code"):
        yield f"{answer.status} with the document {document}"


def _list(message: Answer | Recorded, name: str) -> list[str]:
    return [item.strip() for value in message.values(name) for item in value.split(",")]


def _pair(argument: str) -> tuple[str, str]:
    name, _, value = argument.partition("=")
    return name, value


def _no_field(argument: str, outcome: Outcome) -> bool:
    return not any(request.values(argument) for request in outcome.requests)


def _field_values(argument: str, outcome: Outcome) -> bool:
    return bool(outcome.requests) and _field_values_if_any(argument, outcome)


def _field_values_if_any(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return all(request.values(name) == [value] for request in outcome.requests)


def _field_not_equals(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return not any(value in request.values(name) for request in outcome.requests)


def _field_not_contains(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return not any(value in sent for r in outcome.requests for sent in r.values(name))


def _field_valid(argument: str, outcome: Outcome) -> bool:
    everywhere = all(request.values(argument) for request in outcome.requests)
    return bool(outcome.requests) and everywhere and _field_valid_if_any(argument, outcome)


def _field_valid_if_any(argument: str, outcome: Outcome) -> bool:
    """Only the shape of `traceparent` is known (W3C Trace Context, section 3.2)."""
    if argument != "traceparent":
        return False
    for request in outcome.requests:
        values = request.values(argument)
        if values and (len(values) > 1 or not _TRACEPARENT.fullmatch(values[0])):
            return False
    return True


def _cookie_absent(argument: str, outcome: Outcome) -> bool:
    """Neither the cookie nor a chunk of it is sent on."""
    wanted = re.compile(re.escape(argument) + r"(\.[0-9]+)?")
    pairs = [p for r in outcome.requests for v in r.values("Cookie") for p in v.split(";")]
    return not any(wanted.fullmatch(pair.partition("=")[0].strip()) for pair in pairs)


def _bytes(argument: str, outcome: Outcome) -> bool:
    return argument.encode("latin-1") in outcome.upstream_bytes


def _targets(test: Callable[[str], bool], outcome: Outcome) -> bool:
    return all(test(request.target) for request in outcome.requests)


def _answered(test: Callable[[Answer], bool], outcome: Outcome) -> bool:
    """At least one answer, and the test holds for all of them."""
    return bool(outcome.final) and all(test(answer) for answer in outcome.final)


def _answer_equals(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return _answered(lambda answer: answer.values(name) == [value], outcome)


def _answer_contains(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return _answered(lambda answer: value in ", ".join(answer.values(name)), outcome)


def _answer_not_contains(argument: str, outcome: Outcome) -> bool:
    name, value = _pair(argument)
    return not any(value in ", ".join(answer.values(name)) for answer in outcome.answers.all)


def _answer_count(argument: str, outcome: Outcome) -> bool:
    name, count = _pair(argument)
    return _answered(lambda answer: len(answer.values(name)) == int(count), outcome)


def _answer_absent(argument: str, outcome: Outcome) -> bool:
    return not any(answer.values(argument) for answer in outcome.answers.all)


def _content_type(argument: str, outcome: Outcome) -> bool:
    return _answered(
        lambda a: [v.partition(";")[0] for v in a.values("Content-Type")] == [argument], outcome
    )


def _body_not_contains(argument: str, outcome: Outcome) -> bool:
    wanted = argument.encode("latin-1")
    said = [answer.body for answer in outcome.answers.all]
    return not any(wanted in text for text in [*said, outcome.answers.rest])


def _connection_closed(_: str, outcome: Outcome) -> bool:
    """The gateway closed after its last answer, and had said that it would (RFC 9112, 9.6)."""
    if not outcome.closed or outcome.answers.rest:
        return False
    return not outcome.final or "close" in _list(outcome.final[-1], "Connection")


def _callback_host(argument: str, outcome: Outcome) -> bool:
    """Every redirect goes to one of these hosts and names no other as the place to come back to."""
    return all(
        _goes_to(answer, argument.split(","))
        for answer in outcome.final
        if 300 <= answer.status < 400
    )


def _goes_to(answer: Answer, hosts: list[str]) -> bool:
    locations = answer.values("Location")
    if len(locations) != 1:
        return False
    location = urlsplit(locations[0])
    callbacks = parse_qs(location.query).get("callbackUrl", [])
    urls = [location, *map(urlsplit, callbacks)]
    return all(url.scheme in ("http", "https") and url.hostname in hosts for url in urls)


UPSTREAM_CHECKS: Final[dict[str, Check]] = {
    "header_absent": _no_field,
    "header_values": _field_values,
    "if_any_header_values": _field_values_if_any,
    "header_not_equals": _field_not_equals,
    "header_not_contains": _field_not_contains,
    "header_valid": _field_valid,
    "if_any_header_valid": _field_valid_if_any,
    "cookie_absent": _cookie_absent,
    "bytes_contains": _bytes,
    "bytes_absent": lambda a, o: not _bytes(a, o),
    "bytes_max_requests": lambda a, o: len(o.requests) <= int(a),
    "target_prefix_if_any": lambda a, o: _targets(lambda t: t.startswith(a), o),
    "target_equals_if_any": lambda a, o: _targets(lambda t: t == a, o),
    "target_not_contains": lambda a, o: _targets(lambda t: a not in t, o),
    "target_not_contains_ci": lambda a, o: _targets(lambda t: a.lower() not in t.lower(), o),
}

ANSWER_CHECKS: Final[dict[str, Check]] = {
    "conn_close": _connection_closed,
    "no_crash": lambda _, o: o.alive,
    "statuses": lambda a, o: o.statuses == [int(status) for status in a.split(",")],
    "no_status": lambda a, o: not any(str(status).startswith(a) for status in o.statuses),
    "response_count": lambda a, o: len(o.answers.all) == int(a),
    "response_count_min": lambda a, o: len(o.answers.all) >= int(a),
    "response_final_count": lambda a, o: len(o.final) == int(a),
    "header_absent": _answer_absent,
    "header_present": lambda a, o: _answered(lambda answer: bool(answer.values(a)), o),
    "header_equals": _answer_equals,
    "header_values": _answer_equals,
    "header_contains": _answer_contains,
    "header_not_contains": _answer_not_contains,
    "header_count": _answer_count,
    "content_type": _content_type,
    "body_not_contains": _body_not_contains,
    "location_callback_host_in": _callback_host,
}
