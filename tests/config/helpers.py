"""Small configurations for tests, and what is wrong with them in a form that is easy to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.config.load import loads
from proxy.config.model import Config
from proxy.config.problems import ConfigError, Problem

SECRET: Final = "b1fa9f7a5c0e4d2f8e6b3a1d7c9f5e2a4b6d8c0e1f3a5b7d9c1e3f5a7b9d1c3e"
ENV: Final = {"AUTH_SECRET": SECRET}

_USUAL: Final = {
    "sessions": "{web: {secret: '${AUTH_SECRET}'}}",
    "upstreams": "{api: {endpoints: [http://127.0.0.1:8000]}}",
    "routes": "[{path: /**, upstream: api}]",
}


def written(**sections: str) -> str:
    """Return a file with the usual sections; those given, in flow style, replace or join them."""
    return "".join(f"{name}: {text}\n" for name, text in (_USUAL | sections).items() if text)


def config_of(text: str, env: Mapping[str, str] = ENV) -> Config:
    """Return the configuration in a text that is right."""
    return loads(text, "test.yaml", env).config


def problems_of(text: str, env: Mapping[str, str] = ENV) -> list[Problem]:
    """Return what is wrong with a text, in its order."""
    try:
        loads(text, "test.yaml", env)
    except ConfigError as error:
        return error.problems
    return []


def told(text: str, env: Mapping[str, str] = ENV) -> list[str]:
    """Return `place: message` for each problem; a place is written as `routes.0.path`."""
    return [
        f"{'.'.join(map(str, problem.loc))}: {problem.message}"
        for problem in problems_of(text, env)
    ]


def places(text: str, env: Mapping[str, str] = ENV) -> list[str]:
    """Return the place of each problem."""
    return [".".join(map(str, problem.loc)) for problem in problems_of(text, env)]
