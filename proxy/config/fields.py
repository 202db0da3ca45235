"""The kinds of value that the sections are made of, and what each says when it is given another.

Law of the file: a message says what must be there and never repeats what was there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
)

from proxy.config.units import (
    Address,
    Endpoint,
    Rate,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
# RFC 9110 section 5.6.2.
TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Section(BaseModel):
    """A mapping of the file: nothing unknown in it, nothing changed after it was read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=False,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text; put it in quotes")
    if not value:
        raise ValueError("must not be empty")
    return value


def listed(value: object) -> object:
    """Refuse what is not a list, in words; pydantic says it in its own."""
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list, such as [a, b]")
    return value


def one_or_more(value: object) -> object:
    """Read one value as a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def _is_value(value: object, info: ValidationInfo, kinds: tuple[type, ...]) -> bool:
    # Code gives numbers and addresses as they are; a file (which has a context) writes units.
    return isinstance(value, kinds) and not isinstance(value, bool) and info.context is None


def _read(parse: Callable[[str], Any], example: str, *kinds: type) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> Any:
        if _is_value(value, info, kinds):
            return value
        if not isinstance(value, str):
            raise ValueError(example)
        return parse(value)

    return PlainValidator(validate)


def _read_or_off(parse: Callable[[str], Any], example: str, *kinds: type) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> Any:
        if value == "off" or (value is None and info.context is None):
            return None
        if _is_value(value, info, kinds):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{example}, or off")
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from None

    return PlainValidator(validate)


def _above_zero(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("must be longer than zero")
    return seconds


def _size_above_zero(text: str) -> int:
    size = parse_size(text)
    if size <= 0:
        raise ValueError("must be larger than zero")
    return size


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("a name is a letter, then letters, digits, - or _, at most 63 in all")
    return value


def _token(value: object) -> str:
    if not TOKEN.fullmatch(_text(value)):
        raise ValueError("must be a name made of letters, digits and !#$%&'*+-.^_`|~")
    return _text(value)


def _count_or_off(value: object, info: ValidationInfo) -> int | None:
    if value == "off" or (value is None and info.context is None):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _COUNT_MAX:
        raise ValueError(f"must be a whole number from 1 to {_COUNT_MAX}, or off")
    return value


_COUNT_MAX: Final = 10_000_000
_DURATION_EXAMPLE: Final = "must be a duration with its unit, such as 1500ms, 5s, 10m, 2h or 30d"
_SIZE_EXAMPLE: Final = "must be a size with its unit, such as 512B, 64KiB, 10MiB or 5GiB"
_DURATION_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}
_SIZE_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+(B|KiB|MiB|GiB|TiB)$"}
_OFF_SCHEMA: Final = {"const": "off"}
_SECONDS_OUT: Final = PlainSerializer(
    lambda value: "off" if value is None else format_duration(value), when_used="json"
)
_BYTES_OUT: Final = PlainSerializer(
    lambda value: "off" if value is None else format_size(value), when_used="json"
)
_TEXT_OUT: Final = PlainSerializer(str, when_used="json")

Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_name)]
Token = Annotated[str, BeforeValidator(_token)]
Flag = StrictBool
Count = Annotated[StrictInt, Field(ge=1, le=_COUNT_MAX)]

CountOrOff = Annotated[
    int | None,
    PlainValidator(_count_or_off),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, _OFF_SCHEMA]}),
    PlainSerializer(lambda value: "off" if value is None else value, when_used="json"),
]

Duration = Annotated[
    float,
    _read(_above_zero, _DURATION_EXAMPLE, int, float),
    WithJsonSchema(_DURATION_SCHEMA),
    _SECONDS_OUT,
]
DurationOrZero = Annotated[
    float,
    _read(parse_duration, _DURATION_EXAMPLE, int, float),
    WithJsonSchema(_DURATION_SCHEMA),
    _SECONDS_OUT,
]
DurationOrOff = Annotated[
    float | None,
    _read_or_off(_above_zero, _DURATION_EXAMPLE, int, float),
    WithJsonSchema({"anyOf": [_DURATION_SCHEMA, _OFF_SCHEMA]}),
    _SECONDS_OUT,
]
Size = Annotated[
    int, _read(_size_above_zero, _SIZE_EXAMPLE, int), WithJsonSchema(_SIZE_SCHEMA), _BYTES_OUT
]
SizeOrOff = Annotated[
    int | None,
    _read_or_off(_size_above_zero, _SIZE_EXAMPLE, int),
    WithJsonSchema({"anyOf": [_SIZE_SCHEMA, _OFF_SCHEMA]}),
    _BYTES_OUT,
]
AddressText = Annotated[
    Address,
    _read(Address.parse, "must be HOST:PORT, [V6]:PORT or unix:/path", Address),
    WithJsonSchema({"type": "string"}),
    _TEXT_OUT,
]
EndpointText = Annotated[
    Endpoint,
    _read(Endpoint.parse, "must be http://HOST:PORT, https://HOST:PORT or unix:/path", Endpoint),
    WithJsonSchema({"type": "string", "pattern": r"^(https?://|unix:/|.*\$\{)"}),
    _TEXT_OUT,
]
RateText = Annotated[
    Rate,
    _read(Rate.parse, "must be a rate, such as 10/s, 100/m, 1000/h or 5000/d", Rate),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]*/[smhd]$"}),
    _TEXT_OUT,
]
DnsText = Annotated[
    Endpoint,
    _read(Endpoint.parse_name, "must be HOST:PORT, or https://HOST:PORT", Endpoint),
    WithJsonSchema({"type": "string"}),
    _TEXT_OUT,
]

# A list of texts. `Texts` may be empty; `SomeTexts` may not, because an empty list would read as
# "no restriction" to one reader and as "nothing at all" to another.
Texts = Annotated[tuple[Text, ...], BeforeValidator(listed)]
SomeTexts = Annotated[tuple[Text, ...], BeforeValidator(listed), Field(min_length=1)]
Tokens = Annotated[tuple[Token, ...], BeforeValidator(listed)]
SomeTokens = Annotated[tuple[Token, ...], BeforeValidator(listed), Field(min_length=1)]
OneOrMoreTexts = Annotated[
    tuple[Text, ...],
    BeforeValidator(one_or_more),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]


def _in_folder(value: object, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / _text(value)


FileName = Annotated[
    Path, PlainValidator(_in_folder), WithJsonSchema({"type": "string"}), _TEXT_OUT
]


def _off_only(value: object) -> None:
    if value is not None and value != "off":
        raise ValueError("is not built yet in this version; leave it out, or write off")


NotBuilt = Annotated[None, PlainValidator(_off_only), WithJsonSchema(_OFF_SCHEMA)]
Off = Literal["off"]


def off_or_keys(value: object) -> object:
    """Refuse what is neither a section nor `off`, for sections that may be switched off."""
    if value != "off" and value is not None and not isinstance(value, dict | BaseModel):
        raise ValueError("must be a mapping of keys, or off")
    return value


def off_to_none(value: object) -> object:
    """Read `off` as None, where a section that is left out is off as well."""
    return None if value == "off" else off_or_keys(value)
