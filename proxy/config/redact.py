"""The configuration for people to look at: in the words of the file, without what is secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from proxy.config.snippet import COVER

if TYPE_CHECKING:
    from proxy.config.model import Config

_USER_OF_URL: Final = re.compile(r"(?<=://)[^\s/?#]*@")


def redacted(config: Config) -> dict[str, Any]:
    """Return what is configured, defaults included, as JSON can hold it.

    Secrets are `***`, and so are the headers and cookies of `tests`; URLs lose user and password.
    Routes show what was written, since what they leave out comes from elsewhere.
    """
    values = config.model_dump(mode="json", by_alias=True, exclude={"routes", "tests"})
    values["routes"] = [
        route.model_dump(mode="json", by_alias=True, exclude_unset=True) for route in config.routes
    ]
    values["tests"] = [_test(case) for case in config.tests]
    without_users: dict[str, Any] = _without_users(values)
    return without_users


def _test(case: Any) -> dict[str, Any]:
    values: dict[str, Any] = case.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for section in ("headers", "cookies"):
        if section in values:
            values[section] = dict.fromkeys(values[section], COVER)
    return values


def _without_users(value: Any) -> Any:
    if isinstance(value, str):
        return _USER_OF_URL.sub("", value)
    if isinstance(value, dict):
        return {key: _without_users(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_users(item) for item in value]
    return value
