"""Can the configuration's own tests be run, and do they name what exists?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.browser import KNOWN_METHODS
from proxy.config.origins import check_url
from proxy.config.problems import Loc, did_you_mean

if TYPE_CHECKING:
    from proxy.config.model import Config, TestCase
    from proxy.config.problems import Report


def check_cases(config: Config, report: Report) -> None:
    """Check `request` and `expect` of every entry of `tests`."""
    for position, case in enumerate(config.tests):
        loc: Loc = ("tests", position)
        message = _about_request(case)
        if message:
            report.add((*loc, "request"), message)
        if not case.expect.model_fields_set:
            report.add((*loc, "expect"), "must be a status, or name a status, route or upstream")
        _check_expect(config, case, (*loc, "expect"), report)


def _about_request(case: TestCase) -> str:
    """Say what is wrong with a request, or nothing."""
    if case.method not in KNOWN_METHODS:
        return "must begin with a method in capitals, as in GET /path"
    if case.target.startswith("/") and " " not in case.target:
        return ""
    try:
        check_url(case.target)
    except ValueError:
        return "must be METHOD /path or METHOD http://host/path"
    return ""


def _check_expect(config: Config, case: TestCase, loc: Loc, report: Report) -> None:
    expect = case.expect
    if expect.upstream is not None and expect.upstream not in config.upstreams:
        at = (*loc, "upstream")
        hint = did_you_mean(expect.upstream, report.names("upstreams", config.upstreams))
        report.add(at, f"there is no upstream {report.shown(at)}{hint}")
    if expect.route is not None and expect.route not in [route.path for route in config.routes]:
        at = (*loc, "route")
        paths = [report.shown(("routes", number, "path")) for number in range(len(config.routes))]
        hint = did_you_mean(expect.route, [path.strip("'") for path in paths])
        report.add(at, f"no route has the path {report.shown(at)}{hint}")
