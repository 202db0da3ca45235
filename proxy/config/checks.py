"""The second round: does what is there make sense together? Run when every value has its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.check_browser import check_browser
from proxy.config.check_cases import check_cases
from proxy.config.check_database import check_database
from proxy.config.check_files import check_files
from proxy.config.check_identity import check_identity
from proxy.config.check_limits import check_limits
from proxy.config.check_network import check_network
from proxy.config.check_overlaps import check_overlaps
from proxy.config.check_routes import check_routes
from proxy.config.check_sessions import check_sessions
from proxy.config.check_upstreams import check_upstreams

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.config.problems import Report

_CHECKS = (
    check_network,
    check_sessions,
    check_database,
    check_identity,
    check_browser,
    check_upstreams,
    check_files,
    check_routes,
    check_overlaps,
    check_limits,
    check_cases,
)


def check(config: Config, report: Report) -> None:
    """Add everything to the report that is wrong with a configuration whose shape is right."""
    for each in _CHECKS:
        each(config, report)
