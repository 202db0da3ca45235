"""Where we listen, what is accepted, what is logged, how we stop."""

from __future__ import annotations

import pytest

from proxy.config.model import Address, Drain, Limits, Listen, LogConfig
from tests.config.helpers import config_of, told, written


def test_an_address_alone_is_a_listener() -> None:
    short = config_of(written(listen="127.0.0.1:0")).listen
    long = config_of(written(listen="{address: 127.0.0.1:0}")).listen
    assert short == long == Listen(address=Address("127.0.0.1", 0))


def test_an_ipv6_address_needs_quotes() -> None:
    assert config_of(written(listen="'[::1]:0'")).listen.address == Address("::1", 0)


def test_the_proxy_protocol_is_off_or_on() -> None:
    assert not config_of(written(listen="127.0.0.1:0")).listen.proxy_protocol
    on = written(
        listen="{address: 127.0.0.1:0, proxy_protocol: true}", trusted_proxies="[10.0.0.7]"
    )
    assert config_of(on).listen.proxy_protocol
    assert told(on.replace("true", "v2")) == ["listen.proxy_protocol: must be true or false"]


def test_limits_have_the_defaults_of_the_contract() -> None:
    assert Limits().model_dump() == {
        "head": 65_536,
        "target": 8_192,
        "body": 10 << 20,
        "header_timeout": 10.0,
        "body_idle": 30.0,
        "idle": 75.0,
        "connections": 10_000,
    }


def test_the_log_and_the_drain_have_the_defaults_of_the_contract() -> None:
    assert LogConfig().model_dump() == {"level": "info", "format": "auto", "access": True}
    assert Drain().model_dump() == {"delay": 5.0, "timeout": 30.0}


def test_the_body_may_be_without_limit() -> None:
    assert config_of(written(limits="{body: off}")).limits.body is None


@pytest.mark.parametrize("key", ["head", "target", "header_timeout", "body_idle", "idle"])
def test_other_limits_may_not(key: str) -> None:
    assert len(told(written(limits=f"{{{key}: off}}"))) == 1


def test_tls_needs_both_files() -> None:
    text = written(listen="{address: 127.0.0.1:0, tls: {cert: a.pem}}")
    assert told(text) == ["listen.tls: the key 'key' is missing here"]
