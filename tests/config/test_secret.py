"""Secrets: from text or a file, and never shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from proxy.config.secret import Secret, Secrets

FILE: dict[str, Any] = {"read": lambda name: f"from {name}"}


def read(kind: Any, value: object, context: dict[str, Any] | None = FILE) -> Any:
    return TypeAdapter(kind).validate_python(value, context=context)


def complaint(kind: Any, value: object, context: dict[str, Any] | None = FILE) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value, context)
    return caught.value.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("value", "secret"),
    [("hunter2", "hunter2"), ({"file": "x"}, "from x")],
    ids=["text", "file"],
)
def test_a_secret_is_text_or_a_file(value: object, secret: str) -> None:
    result = read(Secret, value)
    assert result.get_secret_value() == secret
    assert secret not in repr(result)


@pytest.mark.parametrize(
    "value", [7, None, [], {}, {"file": ""}, {"file": 7}, {"file": "x", "y": "z"}, {"env": "X"}]
)
def test_a_secret_is_nothing_else(value: object) -> None:
    assert "must be text in quotes" in complaint(Secret, value)


def test_a_secret_is_not_read_where_nobody_reads_files() -> None:
    assert complaint(Secret, {"file": "x"}, {}) == "cannot be read from a file here"


def test_a_secret_is_covered_in_json() -> None:
    adapter = TypeAdapter[Any](Secrets)
    secrets = adapter.validate_python(["hunter2", "x"], context=FILE)
    assert adapter.dump_json(secrets) == b'["***","***"]'


def test_code_gives_a_secret_as_it_is() -> None:
    assert read(Secret, SecretStr("x"), None) == SecretStr("x")


def test_one_secret_is_a_list_of_one() -> None:
    assert [each.get_secret_value() for each in read(Secrets, "x")] == ["x"]
    assert "at least 1" in complaint(Secrets, [])
    assert complaint(Secrets, ["x", ""]) == "must not be empty"
