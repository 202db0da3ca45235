"""Can we listen there, and is whom we trust somebody in particular, and nobody who guesses?"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from proxy.config.patterns import Pattern
from proxy.config.problems import did_you_mean
from proxy.config.weak import weakness

if TYPE_CHECKING:
    from proxy.config.model import Address, Config
    from proxy.config.problems import Report

TRUSTABLE: Final = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "Forwarded",
)
_EVERY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
# Mapped IPv4 addresses: the whole of IPv4 under another name.
_MAPPED: Final = ip_network("::ffff:0:0/96")
_HEAD_MIN: Final = 1024
_TARGET_MIN: Final = 256


def check_network(config: Config, report: Report) -> None:
    """Check where it listens, whom it trusts, `admin_token`, `health_path` and `limits`."""
    if _clashes(config.listen.address, config.admin):
        loc = ("admin",) if "admin" in config.model_fields_set else ("listen", "address")
        report.add(loc, "listen and admin must not share an address and port")
    if config.admin_token is not None:
        reason = weakness(config.admin_token.get_secret_value())
        if reason:
            report.add(("admin_token",), f"this token is weak: {reason}")
    for position, text in enumerate(config.trusted_proxies):
        message = _about_proxy(text)
        if message:
            report.add(("trusted_proxies", position), message)
    for position, name in enumerate(config.trusted_headers):
        if name.lower() not in {each.lower() for each in TRUSTABLE}:
            message = f"must be one of {', '.join(TRUSTABLE)}{did_you_mean(name, TRUSTABLE)}"
            report.add(("trusted_headers", position), message)
    _check_proxy_protocol(config, report)
    _check_health_path(config, report)
    _check_limits(config, report)


def _clashes(one: Address, two: Address) -> bool:
    if one.path is not None or two.path is not None:
        return one.path == two.path
    if one.port != two.port or one.port == 0:
        return False
    return one.host == two.host or bool({one.host, two.host} & _EVERY_HOST)


def _about_proxy(text: str) -> str:
    """Say what is wrong with an entry of `trusted_proxies`, or nothing."""
    if text == "unix":
        return ""
    if "%" in text:
        return "must be an address or a network without a zone"
    try:
        ip_address(text)
    except ValueError:
        return _about_network(text)
    return ""


def _about_network(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return "must be an address, a network such as 10.0.0.0/8, or unix"
    if network.prefixlen == 0 or network == _MAPPED:
        return (
            "this is everybody: anybody could then claim any address and scheme; "
            "name the addresses of your load balancer"
        )
    try:
        ip_network(text)
    except ValueError:
        return "a network ends in zeros after its prefix: 10.0.0.0/8, not 10.1.2.3/8"
    return ""


def _check_proxy_protocol(config: Config, report: Report) -> None:
    """Who may connect must be somebody: a listener that refuses everyone looks like an outage."""
    if not config.listen.proxy_protocol:
        return
    unix = config.listen.address.path is not None
    if not any((text == "unix") == unix for text in config.trusted_proxies):
        who = "unix" if unix else "the addresses of your load balancer"
        message = f"only trusted proxies may connect then: list {who} in trusted_proxies"
        report.add(("listen", "proxy_protocol"), message)


def _check_health_path(config: Config, report: Report) -> None:
    if config.health_path is None:
        return
    try:
        pattern = Pattern.parse(config.health_path)
    except ValueError as error:
        report.add(("health_path",), str(error))
        return
    if not pattern.is_literal:
        report.add(("health_path",), "must be one path, without wildcards")
    for position, route in enumerate(config.routes):
        if route.path == config.health_path:
            line = report.line(("routes", position))
            message = f"the route {line} has the same path, and would never be reached"
            report.add(("health_path",), message)


def _check_limits(config: Config, report: Report) -> None:
    limits = config.limits
    if limits.head < _HEAD_MIN:
        report.add(("limits", "head"), "must be at least 1KiB; browsers send about that much")
    if limits.target < _TARGET_MIN:
        report.add(("limits", "target"), "must be at least 256B")
    if limits.target > limits.head:
        loc = ("limits", "target" if "target" in limits.model_fields_set else "head")
        report.add(loc, "the target is part of the head, so its limit must not be larger")
