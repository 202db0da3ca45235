"""The JSON Schema of the configuration file, for editors.

It knows the shape, not the meaning, and it lets `${VAR}` stand wherever a number, a word or a
duration may stand: an editor cannot know what a variable holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from proxy.config.fields import Section
from proxy.config.model import Config, RouteLimits
from proxy.config.shape import keys_of, section_inside

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ABOUT: Final = ("description", "default")
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
# What a file may write instead of the section's mapping.
_SHORTHANDS: Final[dict[str, dict[str, Any]]] = {
    "Listen": {"type": "string", "description": "HOST:PORT, [V6]:PORT or unix:/path"},
    "Expect": {"type": "integer", "description": "The status"},
    "EndpointConfig": {
        "type": "string",
        "pattern": r"^(https?://|unix:/|.*\$\{)",
        "description": "http://HOST:PORT, https://HOST:PORT or unix:/path",
    },
    "DnsConfig": {"type": "string", "description": "HOST:PORT, with https:// before it for TLS"},
}


def json_schema() -> dict[str, Any]:
    """Return the schema, in the dialect of JSON Schema 2020-12."""
    generated = Config.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = generated.pop("$defs")
    for section in _sections(Config, set()):
        schema = generated if section is Config else definitions[section.__name__]
        _write_defaults(schema, section)
    definitions = {name: _tidied(schema) for name, schema in sorted(definitions.items())}
    for name, shorthand in _SHORTHANDS.items():
        definitions[name] = {"anyOf": [shorthand, definitions[name]]}
    root = _tidied(generated)
    for holder in (root, definitions["RouteConfig"]):
        _offer_one_or_off(holder["properties"]["rate_limit"])
    upstream = definitions["UpstreamConfig"]["properties"]
    for section in (root["properties"]["cors"], upstream["health"], upstream["eject"]):
        # Read as None, `off` is in no type.
        section["anyOf"] = [{"$ref": section.pop("$ref")}, {"const": "off"}]
    return {
        "$schema": DIALECT,
        "title": "Gatelodge configuration",
        **root,
        "$defs": definitions,
    }


def _offer_one_or_off(schema: dict[str, Any]) -> None:
    """Let one entry stand for a list of one, and `off` for an empty list."""
    listed = {"type": schema.pop("type"), "items": schema.pop("items"), "minItems": 1}
    schema["anyOf"] = [listed["items"], listed, {"const": "off"}]


def _sections(section: type[Section], seen: set[type[Section]]) -> Iterator[type[Section]]:
    if section in seen:
        return
    seen.add(section)
    yield section
    for info in keys_of(section).values():
        below = section_inside(info.annotation)
        if below is not None:
            yield from _sections(below, seen)


def _write_defaults(schema: dict[str, Any], section: type[Section]) -> None:
    """Write defaults as the file would, `10s` and not 10.0, and none for whole sections."""
    dumped = section.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    for key, info in keys_of(section).items():
        below = schema["properties"][key]
        below.pop("default", None)
        if section is RouteLimits:
            continue  # What a route leaves out is as at the top level.
        value = dumped.get(key)
        has_value = not info.is_required() and value not in (None, [], {})
        if has_value and section_inside(info.annotation) is None:
            below["default"] = value


def _tidied(schema: Any) -> Any:
    """Leave out titles and null, and let a variable stand where there is not just any text."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            tidy[key] = {name: _tidied(below) for name, below in value.items()}
        elif key == "anyOf":
            tidy |= _joined([_tidied(each) for each in value if each != {"type": "null"}])
        elif key == "minLength" and schema.get("type") == "array":
            tidy["minItems"] = value
        elif key in ("default", "enum", "const", "required"):
            tidy[key] = value
        elif not (key == "title" and isinstance(value, str)):
            tidy[key] = _tidied(value)
    return _or_variable(tidy)


def _joined(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the options of an `anyOf`; a single one is no choice."""
    return options[0] if len(options) == 1 else {"anyOf": options}


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    is_word = "enum" in schema or "const" in schema or "pattern" in schema
    if not is_word and schema.get("type") not in ("integer", "number", "boolean"):
        return schema
    about: dict[str, Any] = {key: schema.pop(key) for key in _ABOUT if key in schema}
    return about | {"anyOf": [schema, _VARIABLE]}
