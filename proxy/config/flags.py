"""From flags and variables to the configuration that a file gives, for `run` without a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from proxy.config.checks import check
from proxy.config.model import Config
from proxy.config.problems import ConfigError, Loc, Problem, Report

SECRETS: Final = ("AUTH_SECRET", "NEXTAUTH_SECRET")
"""Variables that hold the app's secret. If both are set, both count, in this order."""


@dataclass(frozen=True)
class Flags:
    """What was on the command line; None and () are what was not."""

    upstream: str | None = None
    origins: tuple[str, ...] = ()
    listen: str | None = None
    admin: str | None = None


@dataclass(frozen=True)
class _Given:
    """A flag's value, and the flag or variable that it came from."""

    value: str = field(repr=False)
    source: str


def given(flags: Flags, env: Mapping[str, str]) -> list[str]:
    """Return the flags and variables that are set, by name: with a file they must not be."""
    values = [*_origins(flags, env)]
    values += [each for each in _singles(flags, env).values() if each is not None]
    return sorted({each.source for each in values})


def from_flags(flags: Flags, env: Mapping[str, str]) -> Config:
    """Return the configuration: one session `web`, one upstream `api`, one route for everything.

    Every flag is also a variable: `GATELODGE_UPSTREAM`, `GATELODGE_ORIGIN` (with commas between
    several), `GATELODGE_LISTEN`, `GATELODGE_ADMIN`. Raises ConfigError that names them.
    """
    source = flags_source(flags, env)
    singles, origins, secrets = source.singles, source.origins, source.secrets
    problems = _missing(singles["upstream"], secrets)
    if problems:
        raise ConfigError(problems)
    values = _values(singles, origins, secrets)
    try:
        config = Config.model_validate(values, context={"folder": Path()})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ConfigError(
            source.problem(each["loc"], str(each.get("ctx", {}).get("error", "is not valid")))
            for each in found
        ) from None
    report = Report(source, [])
    check(config, report)
    if report.problems:
        raise ConfigError(report.problems)
    return config


def flags_source(flags: Flags, env: Mapping[str, str]) -> FlagsSource:
    """Return what names the flags and variables in problems, as a document names its lines."""
    return FlagsSource(_singles(flags, env), _origins(flags, env), _secrets(env))


def _singles(flags: Flags, env: Mapping[str, str]) -> dict[str, _Given | None]:
    return {
        name: _single(name, getattr(flags, name), env) for name in ("upstream", "listen", "admin")
    }


def _single(name: str, value: str | None, env: Mapping[str, str]) -> _Given | None:
    if value is not None:
        return _Given(value, f"--{name}")
    variable = f"GATELODGE_{name.upper()}"
    text = env.get(variable)
    return _Given(text, variable) if text else None


def _origins(flags: Flags, env: Mapping[str, str]) -> list[_Given]:
    if flags.origins:
        return [_Given(origin, "--origin") for origin in flags.origins]
    texts = env.get("GATELODGE_ORIGIN", "").split(",")
    return [_Given(text.strip(), "GATELODGE_ORIGIN") for text in texts if text.strip()]


def _secrets(env: Mapping[str, str]) -> list[_Given]:
    found = {env[name]: _Given(env[name], name) for name in reversed(SECRETS) if env.get(name)}
    return list(reversed(found.values()))


def _missing(upstream: _Given | None, secrets: list[_Given]) -> list[Problem]:
    problems = []
    if upstream is None:
        message = (
            "is missing: where requests go, as in http://127.0.0.1:8000 (or give a file with -c)"
        )
        problems.append(Problem("--upstream", 0, 0, message))
    if not secrets:
        message = "is not set: the secret of the app that signs users in (or NEXTAUTH_SECRET)"
        problems.append(Problem("AUTH_SECRET", 0, 0, message))
    return problems


def _values(
    singles: Mapping[str, _Given | None], origins: list[_Given], secrets: list[_Given]
) -> dict[str, Any]:
    upstream = singles["upstream"]
    values: dict[str, Any] = {
        "sessions": {"web": {"kind": "authjs", "secret": [each.value for each in secrets]}},
        "upstreams": {"api": {"endpoints": [upstream.value if upstream else ""]}},
        "routes": [{"path": "/**", "upstream": "api"}],
    }
    for name in ("listen", "admin"):
        one = singles[name]
        if one is not None:
            values[name] = one.value
    if origins:
        values["cors"] = {"origins": [each.value for each in origins]}
    return values


@dataclass(frozen=True)
class FlagsSource:
    """Names the flag or variable that a value came from, where a file would name the line."""

    singles: Mapping[str, _Given | None]
    origins: list[_Given]
    secrets: list[_Given]

    def problem(
        self,
        loc: Loc,
        message: str,
        *,
        key: bool = False,  # noqa: ARG002 - a flag has no key of its own
    ) -> Problem:
        """Return a problem that names the flag or variable."""
        return Problem(self._name(loc), 0, 0, message, loc)

    def shown(self, loc: Loc) -> str:  # noqa: ARG002 - no value is shown
        """Return "this": a value may have come from a variable."""
        return "this"

    def shown_key(self, loc: Loc) -> str:
        """Return the key in quotes; there are only ours."""
        return f"'{loc[-1]}'"

    def line(self, loc: Loc) -> str:
        """Return which flag or variable, as in `of --origin`."""
        return f"of {self._name(loc)}"

    def _name(self, loc: Loc) -> str:
        if loc[:1] == ("upstreams",):
            one = self.singles["upstream"]
        elif loc[:1] == ("sessions",):
            one = self._numbered(self.secrets, loc)
        elif loc[:1] == ("cors",):
            one = self._numbered(self.origins, loc)
        else:
            one = self.singles.get(str(loc[0])) if loc else None
        return one.source if one is not None else "flags"

    @staticmethod
    def _numbered(values: list[_Given], loc: Loc) -> _Given:
        number = loc[-1] if isinstance(loc[-1], int) else 0
        return values[number]
