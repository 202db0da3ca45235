from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.encoding import b64url_decode, b64url_encode, json_object


@given(st.binary())
def test_base64url_round_trip(data: bytes) -> None:
    text = b64url_encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert b64url_decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("YQ==", id="padding"),
        pytest.param("YQ=", id="half the padding"),
        pytest.param("=", id="padding alone"),
        pytest.param("YWJj====", id="padding after whole groups"),
        pytest.param("YR", id="bits that encode nothing, 4"),
        pytest.param("YWJ", id="bits that encode nothing, 2"),
        pytest.param("YWJjY", id="five characters"),
        pytest.param("Y", id="one character"),
        pytest.param("_-8+", id="plus"),
        pytest.param("_-8/", id="slash"),
        pytest.param("YW Jj", id="space"),
        pytest.param("YWJj\n", id="line feed"),
        pytest.param("YW.Jj", id="dot"),
        pytest.param("YW\x00Jj", id="NUL"),
        pytest.param("YWJé", id="not ASCII"),
        pytest.param("YWJ\ud800", id="surrogate"),
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        b64url_decode(text)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_what_is_accepted_is_the_one_spelling(text: str) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url_encode(data) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param('"sub"', id="string"),
        pytest.param("1", id="number"),
        pytest.param("{} {}", id="two"),
        pytest.param("{'a': 1}", id="not JSON"),
        pytest.param('{"a":1,}', id="comma at the end"),
        pytest.param('{"a":1,"a":1}', id="member twice"),
        pytest.param('{"a":{"b":1,"b":2}}', id="member twice further down"),
        pytest.param('{"a":[{"b":1,"b":2}]}', id="member twice in a list"),
        pytest.param('{"a":1,"\\u0061":2}', id="member twice, once escaped"),
        pytest.param('{"exp":NaN}', id="NaN"),
        pytest.param('{"exp":Infinity}', id="Infinity"),
        pytest.param('{"exp":-Infinity}', id="-Infinity"),
        pytest.param('{"exp":1e400}', id="1e400"),
        pytest.param('{"exp":-1e400}', id="-1e400"),
        pytest.param('{"exp":' + "9" * 5000 + "}", id="endless number"),
        pytest.param('{"a":"\n"}', id="raw line end in a string"),
        pytest.param("\ufeff{}", id="byte order mark"),
        pytest.param('{"a":' * 100_000 + "1" + "}" * 100_000, id="nested for ever"),
        pytest.param('{"a":' + "[" * 100_000, id="lists for ever"),
    ],
)
def test_json_with_another_meaning_or_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        json_object(text.encode())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"a":1}'.encode("utf-32-le"), id="UTF-32"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="surrogate as bytes"),
    ],
)
def test_json_in_another_coding_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        json_object(data)


def test_an_escaped_surrogate_is_still_json() -> None:
    assert json_object(b'{"name":"\\ud800x"}') == {"name": "\ud800x"}


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_other_json_means_what_it_says(value: dict[str, Any], ascii_only: bool) -> None:
    assert json_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value
