from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.config.browser import KNOWN_METHODS
from proxy.config.model import Limits
from proxy.core import framing
from proxy.core.framing import MAX_FIELDS
from proxy.core.head import RequestHead
from tests.support.exchanges import UPGRADE, WEBSOCKET_KEY, head

LIMITS = Limits.model_validate({"head": 1000, "target": 100})
CHUNKED = ("Transfer-Encoding", "chunked")


def check(*fields: tuple[str, str], **changes: Any) -> None:
    framing.check(head(*fields, **changes), LIMITS)


def refusal(*fields: tuple[str, str], **changes: Any) -> type[errors.ProxyError] | None:
    try:
        check(*fields, **changes)
    except errors.ProxyError as error:
        return type(error)
    return None


@pytest.mark.parametrize("method", sorted(KNOWN_METHODS))
def test_the_methods_that_a_configuration_may_name_are_served(method: str) -> None:
    check(method=method)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get", "Get", "", "PRI", "GET "])
def test_another_method_is_unknown(method: str) -> None:
    assert refusal(method=method) is errors.MethodUnknown


@pytest.mark.parametrize("minor", [-1, 2, 9])
def test_another_version_is_a_bad_request(minor: int) -> None:
    assert refusal(minor=minor) is errors.BadRequest


@pytest.mark.parametrize("minor", [0, 1])
def test_both_versions_are_served(minor: int) -> None:
    check(minor=minor)


def test_a_target_may_be_as_long_as_the_limit() -> None:
    check(target="/" + "a" * 99)
    assert refusal(target="/" + "a" * 100) is errors.TargetTooLong


def test_a_head_may_be_as_large_as_the_limit() -> None:
    rest = 1000 - head(("X", "")).size
    check(("X", "a" * rest))
    assert refusal(("X", "a" * (rest + 1))) is errors.HeadTooLarge


def test_a_head_may_have_as_many_fields_as_the_limit_whatever_their_size() -> None:
    limits = Limits.model_validate({"head": "64KiB"})
    for more, fits in ((0, True), (1, False)):
        fields = [("A", "")] * (MAX_FIELDS - 1 + more)
        try:
            framing.check(head(*fields), limits)
        except errors.HeadTooLarge:
            assert not fits
        else:
            assert fits


def test_what_is_too_large_is_told_before_anything_else() -> None:
    """A request that could not be read whole is judged by nothing that it says."""
    long = "/" + "a" * 100
    assert refusal(("X", "a" * 1000), target=long, method="FOO") is errors.TargetTooLong
    assert refusal(("X", "a" * 1000), method="FOO", minor=2) is errors.HeadTooLarge


CODINGS = {
    "FR-15": "xchunked",
    "FR-16": "chunked, identity",
    "FR-17": "\x0bchunked",
    "twice in one line": "chunked, chunked",
    "gzip": "gzip, chunked",
    "identity": "identity",
    "empty": "",
    "quoted": '"chunked"',
    "parameter": "chunked;q=1",
    "Unicode": "chun\xa0ked",
}


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
def test_a_coding_other_than_chunked_is_unknown(coding: str) -> None:
    assert refusal(("Transfer-Encoding", coding), method="POST") is errors.CodingUnknown


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED"])
def test_chunked_is_known_in_any_case(coding: str) -> None:
    check(("transfer-encoding", coding), method="POST")


def test_two_codings_are_a_bad_request() -> None:
    """FR-22: even if they say the same."""
    assert refusal(CHUNKED, ("transfer-encoding", "chunked")) is errors.BadRequest


def test_http_1_0_has_no_codings() -> None:
    assert refusal(CHUNKED, minor=0) is errors.BadRequest


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", ""])
def test_the_one_expectation_can_be_met(value: str) -> None:
    check(("Expect", value))


@pytest.mark.parametrize("value", ["x", ",", "100-continue, x", "100-continue;q=1", "200-ok"])
def test_another_expectation_fails(value: str) -> None:
    assert refusal(("Expect", value)) is errors.ExpectationFailed
    # RFC 9110 section 10.1.1: what HTTP/1.0 expects is ignored.
    check(("Expect", value), minor=0)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ([], {}),
        ([], {"minor": -1}),
        ([], {"method": "TRACE"}),
        ([("Expect", "x")], {}),
        ([("Transfer-Encoding", "gzip")], {"method": "POST"}),
        ([("Transfer-Encoding", "gzip")], {"minor": 0}),
    ],
)
def test_what_passes_the_check_is_served(
    fields: list[tuple[str, str]], changes: dict[str, Any]
) -> None:
    served = framing.is_served(head(*fields, **changes), LIMITS)
    assert served is (refusal(*fields, **changes) is None)


def test_a_second_expectation_is_not_overlooked() -> None:
    both = [("Expect", "100-continue"), ("Expect", "x")]
    assert refusal(*both) in (errors.BadRequest, errors.ExpectationFailed)
    assert refusal(*reversed(both)) in (errors.BadRequest, errors.ExpectationFailed)


BODIES = {
    "none": ([], None, False, False),
    "length": ([("Content-Length", "5")], 5, False, True),
    "length 0": ([("Content-Length", "0")], 0, False, False),
    "length 000": ([("content-length", "000")], 0, False, False),
    "chunked": ([CHUNKED], None, True, True),
}


@pytest.mark.parametrize(
    ("fields", "length", "chunked", "body"), BODIES.values(), ids=BODIES.keys()
)
def test_what_the_head_says_of_the_body(
    fields: list[tuple[str, str]], length: int | None, chunked: bool, body: bool
) -> None:
    request = head(*fields, method="POST")
    assert framing.content_length(request) == length
    assert framing.is_chunked(request) == chunked
    assert framing.has_body(request) == body
    waiting = head(*fields, ("Expect", "100-continue"), method="POST")
    assert framing.expects_continue(waiting) == body
    assert not framing.expects_continue(request)
    # An empty list of expectations waits for nothing.
    assert not framing.expects_continue(head(*fields, ("Expect", ""), method="POST"))
    # A 100 would be the answer itself to a client of HTTP/1.0.
    old = head(*fields, ("Expect", "100-continue"), method="POST", minor=0)
    assert not framing.expects_continue(old)


def test_a_declared_body_may_be_as_large_as_the_limit() -> None:
    framing.check_body(head(("Content-Length", "10")), 10)
    with pytest.raises(errors.BodyTooLarge):
        framing.check_body(head(("Content-Length", "11")), 10)
    with pytest.raises(errors.BodyTooLarge):
        framing.check_body(head(("Content-Length", "1")), 0)
    with pytest.raises(errors.BodyTooLarge):
        framing.check_body(head(("Content-Length", "18446744073709551621")), 10)


@pytest.mark.parametrize("fields", [[], [CHUNKED], [("Content-Length", "0")]])
def test_a_body_of_undeclared_length_is_not_judged_by_the_head(
    fields: list[tuple[str, str]],
) -> None:
    framing.check_body(head(*fields), 0)


def test_without_a_limit_any_length_will_do() -> None:
    framing.check_body(head(("Content-Length", "9" * 30)), None)


def handshake(changes: dict[str, str | None], **more: Any) -> RequestHead:
    fields = {**dict(UPGRADE), **changes}
    sent = [(name, value) for name, value in fields.items() if value is not None]
    return head(*sent, **more)


HANDSHAKES: dict[str, dict[str, str | None]] = {
    "as browsers send it": {},
    "case": {"Upgrade": "WebSocket", "Connection": "UPGRADE"},
    "Firefox": {"Connection": "keep-alive, Upgrade"},
    "spaces": {"Connection": "keep-alive ,\tupgrade "},
    "length 0": {"Content-Length": "0"},
    "another key": {"Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()},
}
NO_HANDSHAKES: dict[str, dict[str, str | None]] = {
    "h2c": {"Upgrade": "h2c"},
    "two protocols": {"Upgrade": "websocket, h2c"},
    "version of a protocol": {"Upgrade": "websocket/1"},
    "empty upgrade": {"Upgrade": ""},
    "no upgrade": {"Upgrade": None},
    "no connection": {"Connection": None},
    "other connection": {"Connection": "keep-alive"},
    "connection that only looks alike": {"Connection": "upgraded, xupgrade"},
    "no version": {"Sec-WebSocket-Version": None},
    "old version": {"Sec-WebSocket-Version": "8"},
    "versions": {"Sec-WebSocket-Version": "13, 8"},
    "version as a number": {"Sec-WebSocket-Version": "013"},
    "no key": {"Sec-WebSocket-Key": None},
    "empty key": {"Sec-WebSocket-Key": ""},
    "short key": {"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()},
    "long key": {"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()},
    "18 bytes in 24 characters": {"Sec-WebSocket-Key": base64.b64encode(bytes(18)).decode()},
    "key of 24 other characters": {"Sec-WebSocket-Key": "!" * 24},
    "key with a space": {"Sec-WebSocket-Key": WEBSOCKET_KEY[:10] + " " + WEBSOCKET_KEY[11:]},
    "key in the other alphabet": {"Sec-WebSocket-Key": "-_" * 11 + "=="},
    "key of bytes": {"Sec-WebSocket-Key": "\xff" * 24},
    "body": {"Content-Length": "5"},
    "chunks": {"Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("changes", HANDSHAKES.values(), ids=HANDSHAKES)
def test_an_opening_handshake(changes: dict[str, str | None]) -> None:
    assert framing.is_websocket(handshake(changes))


@pytest.mark.parametrize("changes", NO_HANDSHAKES.values(), ids=NO_HANDSHAKES)
def test_no_opening_handshake(changes: dict[str, str | None]) -> None:
    assert not framing.is_websocket(handshake(changes))


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "HEAD"])
def test_only_a_get_opens_a_websocket(method: str) -> None:
    assert not framing.is_websocket(handshake({}, method=method))


def test_http_1_0_opens_no_websocket() -> None:
    assert not framing.is_websocket(handshake({}, minor=0))


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
def test_a_field_of_the_handshake_that_came_twice_is_a_bad_request(name: str) -> None:
    with pytest.raises(errors.BadRequest):
        framing.is_websocket(head(*UPGRADE, (name, dict(UPGRADE)[name])))


@given(st.binary(max_size=32))
def test_no_key_makes_the_check_fail(key: bytes) -> None:
    request = handshake({"Sec-WebSocket-Key": key.decode("latin-1")})
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        valid = False
    assert framing.is_websocket(request) == valid
