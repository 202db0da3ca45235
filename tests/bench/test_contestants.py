"""bench/contestants.py: filling in configurations, reading Gatelodge's own log."""

from __future__ import annotations

import pytest

from bench.contestants import fill, listening_port

LOG = """\
not json
{"event": "starting"}
{"event": "listening", "listener": "admin", "address": "127.0.0.1:9090"}
{"event": "listening", "listener": "main", "address": "127.0.0.1:40123"}
{"event": "listening", "listener": "la"""


def test_every_place_is_filled_and_nginx_variables_stay() -> None:
    template = "listen @PORT@; proxy_pass @UPSTREAM@$http_host; listen @PORT@;"

    assert fill(template, {"PORT": "1", "UPSTREAM": "u"}) == (
        "listen 1; proxy_pass u$http_host; listen 1;"
    )


def test_a_place_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="PORT"):
        fill("listen @PORT@;", {})


def test_the_port_is_that_of_the_named_listener() -> None:
    assert listening_port(LOG, "main") == 40123
    assert listening_port(LOG, "admin") == 9090


@pytest.mark.parametrize("log", ["", LOG.partition('"main"')[0]], ids=["empty", "half-a-line"])
def test_there_is_no_port_before_the_line_is_whole(log: str) -> None:
    assert listening_port(log, "main") is None
