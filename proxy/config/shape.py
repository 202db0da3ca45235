"""The model as a tree of keys: which section is at a place, and which keys it knows."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from proxy.config.fields import Section
from proxy.config.model import Config
from proxy.config.problems import Loc

Path = tuple[str, ...]
"""Keys from the root; `*` is any name of a mapping, `[]` any entry of a list."""


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """Return the section's keys as they are in the file."""
    return {info.alias or name: info for name, info in section.model_fields.items()}


def section_at(loc: Loc, section: type[Section] = Config) -> type[Section] | None:
    """Return the section that the model has at a place, or None where it has none."""
    if not loc:
        return section
    info = keys_of(section).get(str(loc[0]))
    if info is None:
        return None
    below, steps = _inside(info.annotation)
    rest = loc[1:]
    for step in steps:
        if step != "[]" or (rest and (rest[0] == step or isinstance(rest[0], int))):
            if not rest:
                return None
            rest = rest[1:]
        # else one entry stands for a list of one
    return None if below is None else section_at(rest, below)


def fields() -> Iterator[tuple[Path, FieldInfo]]:
    """Yield every key that may be configured, with the way to it."""
    yield from _fields_below((), Config)


def places_of(key: str) -> list[Path]:
    """Return the ways to all keys of this name."""
    return [path for path, _info in fields() if path[-1] == key]


def dotted(path: Path) -> str:
    """Write a way as the documentation does: `routes[].limits.body`."""
    return ".".join(path).replace(".[]", "[]")


def _fields_below(path: Path, section: type[Section]) -> Iterator[tuple[Path, FieldInfo]]:
    for key, info in keys_of(section).items():
        here = (*path, key)
        yield here, info
        below, steps = _inside(info.annotation)
        if below is not None:
            yield from _fields_below((*here, *steps), below)


def section_inside(annotation: Any) -> type[Section] | None:
    """Return the section in a field's type, also one inside mappings and lists, or None."""
    return _inside(annotation)[0]


def _inside(annotation: Any) -> tuple[type[Section] | None, Path]:
    """Return the section inside a field's type, and the steps through mappings and lists to it."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ()
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _inside(arguments[0])
    if origin in (Union, UnionType):
        found = [_inside(argument) for argument in arguments]
        return next((each for each in found if each[0] is not None), (None, ()))
    if origin is dict:
        below, steps = _inside(arguments[1])
        return below, ("*", *steps)
    if origin is tuple:
        below, steps = _inside(arguments[0])
        return below, ("[]", *steps)
    return None, ()
