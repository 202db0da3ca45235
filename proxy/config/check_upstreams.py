"""Are the endpoints of an upstream different ones, and does TLS fit them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.problems import Loc
from proxy.config.units import is_host, is_ipv6

if TYPE_CHECKING:
    from proxy.config.model import Config, UpstreamConfig, UpstreamTls
    from proxy.config.problems import Report


def check_upstreams(config: Config, report: Report) -> None:
    """Check the endpoints and `tls` of every upstream."""
    for name, upstream in config.upstreams.items():
        loc: Loc = ("upstreams", name)
        for position, endpoint in enumerate(upstream.endpoints):
            first = upstream.endpoints.index(endpoint)
            if first != position:
                report.add((*loc, "endpoints", position), "this endpoint is listed twice")
        if upstream.tls is not None:
            _check_tls(upstream, upstream.tls, loc, report)


def _check_tls(upstream: UpstreamConfig, tls: UpstreamTls, loc: Loc, report: Report) -> None:
    for position, endpoint in enumerate(upstream.endpoints):
        if endpoint.scheme != "https":
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
