"""Are the endpoints of an upstream different ones, does TLS fit them, and can a check be sent?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.config.problems import Loc
from proxy.config.units import is_host, is_ipv6

if TYPE_CHECKING:
    from proxy.config.model import Config, HealthConfig, UpstreamConfig, UpstreamTls
    from proxy.config.problems import Report

# RFC 9112 section 3.2.1: what a request line can hold as it is.
_TARGET: Final = re.compile(r"/[\x21-\x22\x24-\x7e]*")


def check_upstreams(config: Config, report: Report) -> None:
    """Check the endpoints, `tls` and `health` of every upstream."""
    for name, upstream in config.upstreams.items():
        loc: Loc = ("upstreams", name)
        _check_endpoints(upstream, loc, report)
        if upstream.tls is not None:
            _check_tls(upstream, upstream.tls, loc, report)
        if upstream.health is not None:
            _check_health(upstream.health, (*loc, "health"), report)


def _check_endpoints(upstream: UpstreamConfig, loc: Loc, report: Report) -> None:
    if upstream.dns is None and not upstream.endpoints:
        report.add(loc, "needs endpoints, a list of URLs, or dns, a name to look up")
    if upstream.dns is not None and upstream.endpoints:
        report.add((*loc, "dns"), "endpoints and dns exclude each other", key=True)
    urls = [endpoint.url for endpoint in upstream.endpoints]
    for position, url in enumerate(urls):
        if urls.index(url) != position:
            report.add((*loc, "endpoints", position), "this endpoint is listed twice")


def _check_health(health: HealthConfig, loc: Loc, report: Report) -> None:
    if not _TARGET.fullmatch(health.path):
        report.add((*loc, "path"), "must begin with / and be plain ASCII without spaces or #")
    if health.host is not None:
        host, _, port = health.host.rpartition(":")
        if not is_host(health.host) and not (port.isdigit() and is_host(host)):
            report.add((*loc, "host"), "must be a host name, with :PORT behind it if need be")


def _check_tls(upstream: UpstreamConfig, tls: UpstreamTls, loc: Loc, report: Report) -> None:
    if upstream.dns is not None and upstream.dns.name.scheme != "https":
        report.add((*loc, "dns"), "this upstream has tls, so its name must begin with https://")
    for position, endpoint in enumerate(upstream.endpoints):
        if endpoint.url.scheme != "https":
            message = "this upstream has tls, so its endpoints must begin with https://"
            report.add((*loc, "endpoints", position), message)
    for one, other in (("cert", "key"), ("key", "cert")):
        if getattr(tls, one) is not None and getattr(tls, other) is None:
            report.add((*loc, "tls", one), f"{one} needs {other} beside it", key=True)
    name = tls.server_name
    if name is not None and not is_host(name) and not is_ipv6(name):
        report.add(
            (*loc, "tls", "server_name"), "must be a host name or an address, without a port"
        )
