"""The model has the keys of the contract, and its defaults."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.config import model
from proxy.config.model import Address, Config
from tests.config.helpers import SECRET, config_of, written


def test_the_top_level_has_the_keys_of_the_contract() -> None:
    assert set(Config.model_fields) == {
        "listen",
        "admin",
        "admin_token",
        "workers",
        "watch",
        "health_path",
        "public_origin",
        "trusted_proxies",
        "trusted_headers",
        "sessions",
        "identity",
        "cors",
        "csrf",
        "limits",
        "rate_limit",
        "redis",
        "upstreams",
        "routes",
        "login_url",
        "log",
        "drain",
        "tests",
    }


def test_defaults_are_those_of_the_contract() -> None:
    config = config_of(written())
    assert config.listen.address == Address("0.0.0.0", 8080)
    assert config.admin == Address("127.0.0.1", 9090)
    assert config.workers == 1
    assert config.trusted_proxies == ()
    assert config.trusted_headers == ("X-Forwarded-For", "X-Forwarded-Proto")
    assert config.cors is None
    assert (config.admin_token, config.health_path) == (None, None)
    assert (config.public_origin, config.login_url) == (None, None)
    assert config.tests == ()


def test_cors_may_be_off_in_words() -> None:
    assert config_of(written(cors="off")).cors is None


def test_the_model_does_not_change() -> None:
    with pytest.raises(ValidationError):
        config_of(written()).workers = 2


def test_the_model_shows_no_secret() -> None:
    config = config_of(written(admin_token="'${AUTH_SECRET}'"))
    assert SECRET not in repr(config)
    assert SECRET not in config.model_dump_json()


def test_everything_that_is_promised_is_there() -> None:
    assert [name for name in model.__all__ if not hasattr(model, name)] == []
