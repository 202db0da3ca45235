"""What a scalar of the file means: variables filled in, and YAML 1.2's core types.

PyYAML reads YAML 1.1, where `no` is false and `08:30` is 510; so it never gets to decide here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.config.problems import did_you_mean

# YAML 1.2.2 section 10.3.2.
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# Python refuses to read longer numbers than 4300 digits; nothing here needs more than 18.
_INT: Final = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL: Final = re.compile(r"0o([0-7]{1,20})")
_HEX: Final = re.compile(r"0x([0-9a-fA-F]{1,15})")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INF: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN: Final = frozenset({".nan", ".NaN", ".NAN"})

_DOLLAR: Final = re.compile(r"\$(?:(\$)|\{([^{}]*)\})?")
_VARIABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)

Scalar = str | int | float | bool | None


def typed(text: str) -> Scalar:
    """Return what a plain scalar (one without quotes) means in YAML 1.2's core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if match := _OCTAL.fullmatch(text):
        return int(match[1], 8)
    if match := _HEX.fullmatch(text):
        return int(match[1], 16)
    return _typed_float(text)


def _typed_float(text: str) -> float | str:
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INF.fullmatch(text):
        return float(f"{match[1]}inf")
    return float("nan") if text in _NAN else text


@dataclass
class Filled:
    """A scalar after its variables were filled in."""

    text: str = field(repr=False)
    variables: list[str] = field(default_factory=list)
    """Names of the variables in it, in order."""
    may_be_empty: bool = True
    """Whether every variable in it has a default, so that nothing may be what was meant."""
    complaints: list[str] = field(default_factory=list)
    """What was wrong with them; then `text` means nothing."""


def fill(raw: str, env: Mapping[str, str]) -> Filled:
    """Put variables in place of `${VAR}` and `${VAR:-default}`, and a dollar for `$$`.

    As in the shell, the default also stands in for a variable that is set and empty.
    """
    filled = Filled(raw)
    if "$" in raw:
        filled.text = _DOLLAR.sub(lambda match: _replacement(match, env, filled), raw)
    return filled


def _replacement(match: re.Match[str], env: Mapping[str, str], filled: Filled) -> str:
    if match[1]:
        return "$"
    variable = None if match[2] is None else _VARIABLE.fullmatch(match[2])
    if variable is None:
        filled.complaints.append(
            "a dollar sign begins ${VAR} or ${VAR:-default}; write $$ for the sign itself"
        )
        return ""
    name, default = variable[1], variable[2]
    filled.variables.append(name)
    value = env.get(name)
    if default is not None:
        return value or default
    filled.may_be_empty = False
    if value is None:
        hint = did_you_mean(name, env) or f" (${{{name}:-default}} would give it a default)"
        filled.complaints.append(f"environment variable {name} is not set{hint}")
        return ""
    if not is_utf8(value):
        filled.complaints.append(f"environment variable {name} is not UTF-8")
    return value


def is_utf8(text: str) -> bool:
    """Say whether the text can be written as UTF-8: whether it has no lone surrogates.

    They come from the environment, whose bad bytes Python reads so, and from escapes in YAML.
    """
    return not any("\ud800" <= char <= "\udfff" for char in text)
