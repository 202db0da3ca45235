"""CORS and CSRF: shape and defaults."""

from __future__ import annotations

from proxy.config.browser import KNOWN_METHODS, METHODS
from proxy.config.model import CorsConfig, CsrfConfig
from proxy.core import framing
from tests.config.helpers import config_of, written


def test_cors_has_the_defaults_of_the_contract() -> None:
    assert CorsConfig().model_dump() == {
        "origins": (),
        "methods": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        "headers": "any",
        "expose": ("X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"),
        "max_age": 600.0,
        "private_network": False,
    }


def test_csrf_is_checked_by_default_against_the_origins_of_cors() -> None:
    assert CsrfConfig().model_dump() == {"check_origin": True, "origins": None}


def test_an_empty_list_is_not_a_list_left_out() -> None:
    assert config_of(written(csrf="{origins: []}")).csrf.origins == ()


def test_headers_are_any_or_a_list() -> None:
    cors = config_of(written(cors="{origins: ['null'], headers: [X-A]}")).cors
    assert cors is not None
    assert cors.headers == ("X-A",)


def test_methods_that_are_granted_are_methods_that_are_forwarded() -> None:
    assert set(METHODS) <= KNOWN_METHODS
    assert framing._METHODS == KNOWN_METHODS
