"""The kinds of value, by themselves: from a file (with a context) and from code (without)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.config import fields
from proxy.config.units import Address, Endpoint

FILE: dict[str, Any] = {"folder": Path("/etc/gate")}


def read(kind: Any, value: object, context: dict[str, Any] | None = FILE) -> Any:
    return TypeAdapter(kind).validate_python(value, context=context)


def complaint(kind: Any, value: object, context: dict[str, Any] | None = FILE) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value, context)
    return caught.value.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (fields.Duration, "5s", 5.0),
        (fields.DurationOrZero, "0s", 0.0),
        (fields.DurationOrOff, "off", None),
        (fields.DurationOrOff, "1m", 60.0),
        (fields.Size, "1KiB", 1024),
        (fields.SizeOrOff, "off", None),
        (fields.AddressText, "127.0.0.1:80", Address("127.0.0.1", 80)),
        (fields.EndpointText, "http://x", Endpoint("http", "x", 80)),
        (fields.Text, "x", "x"),
        (fields.Name, "a-b_1", "a-b_1"),
        (fields.Token, "X-Y", "X-Y"),
        (fields.Flag, True, True),
        (fields.Count, 1, 1),
        (fields.Texts, [], ()),
        (fields.SomeTexts, ["a"], ("a",)),
        (fields.Tokens, ["GET"], ("GET",)),
        (fields.OneOrMoreTexts, "a", ("a",)),
        (fields.OneOrMoreTexts, ["a", "b"], ("a", "b")),
        (fields.FileName, "ca.pem", Path("/etc/gate/ca.pem")),
        (fields.FileName, "/ca.pem", Path("/ca.pem")),
        (fields.NotBuilt, "off", None),
    ],
)
def test_a_file_writes_values_in_words(kind: Any, value: object, result: object) -> None:
    assert read(kind, value) == result


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (fields.Duration, 5, "must be a duration with its unit"),
        (fields.Duration, "0s", "must be longer than zero"),
        (fields.Duration, "off", "must be a duration with its unit"),
        (fields.DurationOrOff, "never", "or 30d, or off"),
        (fields.DurationOrOff, None, "or 30d, or off"),
        (fields.DurationOrOff, 0, "or 30d, or off"),
        (fields.Size, 1024, "must be a size with its unit"),
        (fields.Size, True, "must be a size with its unit"),
        (fields.Size, "0B", "must be larger than zero"),
        (fields.SizeOrOff, "no", "or 5GiB, or off"),
        (fields.Text, 7, "must be text; put it in quotes"),
        (fields.Text, "", "must not be empty"),
        (fields.Name, "7up", "a name is a letter"),
        (fields.Name, "a.b", "a name is a letter"),
        (fields.Name, "a" * 64, "a name is a letter"),
        (fields.Token, "a b", "must be a name made of letters"),
        (fields.Token, "a:b", "must be a name made of letters"),
        (fields.Flag, "true", "valid boolean"),
        (fields.Count, "1", "valid integer"),
        (fields.Count, True, "valid integer"),
        (fields.Count, 0, "greater than or equal to 1"),
        (fields.Texts, "a", "must be a list, such as [a, b]"),
        (fields.Texts, {"a": "b"}, "must be a list, such as [a, b]"),
        (fields.SomeTexts, [], "at least 1"),
        (fields.OneOrMoreTexts, [], "at least 1"),
        (fields.FileName, 7, "must be text; put it in quotes"),
        (fields.NotBuilt, "on", "is not built yet in this version"),
    ],
)
def test_other_values_are_refused(kind: Any, value: object, message: str) -> None:
    assert message in complaint(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (fields.Duration, 5.0),
        (fields.DurationOrOff, None),
        (fields.DurationOrOff, 5.0),
        (fields.Size, 1024),
        (fields.AddressText, Address("x", 1)),
        (fields.EndpointText, Endpoint("http", "x", 1)),
    ],
)
def test_code_gives_values_as_they_are(kind: Any, value: object) -> None:
    assert read(kind, value, None) == value


@pytest.mark.parametrize(
    ("kind", "value", "json"),
    [
        (fields.Duration, 1.5, b'"1500ms"'),
        (fields.DurationOrOff, None, b'"off"'),
        (fields.Size, 1024, b'"1KiB"'),
        (fields.SizeOrOff, None, b'"off"'),
        (fields.AddressText, Address("::1", 80), b'"[::1]:80"'),
        (fields.FileName, Path("/a"), b'"/a"'),
    ],
)
def test_json_has_the_words_of_the_file(kind: Any, value: object, json: bytes) -> None:
    assert TypeAdapter[Any](kind).dump_json(value) == json


def test_a_section_has_nothing_unknown_and_does_not_change() -> None:
    class Small(fields.Section):
        a: fields.Text = "x"

    with pytest.raises(ValidationError):
        Small.model_validate({"b": "y"})
    with pytest.raises(ValidationError):
        Small().a = "y"


def test_a_section_does_not_repeat_bad_input() -> None:
    class Small(fields.Section):
        a: fields.Flag

    with pytest.raises(ValidationError) as caught:
        Small.model_validate({"a": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_off_is_none_or_kept() -> None:
    assert fields.off_to_none("off") is None
    assert fields.off_or_keys("off") == "off"
    assert fields.off_or_keys({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="or off"):
        fields.off_to_none("on")
