"""The kind of value that nobody may see: where a secret comes from, and that it is never shown.

Law of the file: a message says what must be there and never repeats what was there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from proxy.config.fields import one_or_more


def _secret(value: object, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, dict):
        return SecretStr(_secret_in_file(value, info))
    if not isinstance(value, str):
        raise ValueError("must be text in quotes, ${VARIABLE}, or {file: PATH}")
    if not value:
        raise ValueError("must not be empty")
    return SecretStr(value)


def _secret_in_file(value: dict[object, object], info: ValidationInfo) -> str:
    name = value.get("file")
    if set(value) != {"file"} or not isinstance(name, str) or not name:
        raise ValueError("must be text in quotes, ${VARIABLE}, or {file: PATH}")
    # Reading is an effect, so the loader brings it along; without it there are no files.
    read: Callable[[str], str] | None = (info.context or {}).get("read")
    if read is None:
        raise ValueError("cannot be read from a file here")
    text = read(name)
    if not text:
        raise ValueError("this file is empty")
    return text


_SECRET_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ]
}
# Dumped as JSON, a secret is covered. SecretStr shows ten stars; some take them for ten letters.
_COVERED_OUT: Final = PlainSerializer(
    lambda value: None if value is None else "***", when_used="json"
)
Secret = Annotated[SecretStr, PlainValidator(_secret), WithJsonSchema(_SECRET_SCHEMA), _COVERED_OUT]
Secrets = Annotated[
    tuple[Secret, ...],
    BeforeValidator(one_or_more),
    Field(min_length=1),
    WithJsonSchema(
        {"anyOf": [_SECRET_SCHEMA, {"type": "array", "items": _SECRET_SCHEMA, "minItems": 1}]}
    ),
]
