"""What a run has shown, as a table, as text and as JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.hostile.cases import CATEGORIES, SEVERITIES, Case
from tests.hostile.engine import Fate, Planned, Verdict

_COLUMNS: Final = ("passed", "failed", *(fate for fate in Fate if fate is not Fate.RUN))
_HEADINGS: Final = {
    Fate.NOT_APPLICABLE: "n/a",
    Fate.OUR_PROCESS: "own suite",
    Fate.OTHER_PROFILE: "profile",
}
_LONG: Final = 300
"""Characters of a problem that are shown; JSON has all of them."""

_LEGEND: Final = {
    Fate.NOT_APPLICABLE: "n/a: this kind of sessions cannot say what the case needs",
    Fate.OUR_PROCESS: "own suite: reads the gateway's log or database, or asks its admin listener; "
    "run only where the suite starts the gateway",
    Fate.OTHER_PROFILE: "profile: needs another configuration of the target (PROFILES=...)",
    Fate.LEFT_OUT: "left out: for the reasons in tests/hostile/left-out.yaml",
}


@dataclass(frozen=True, slots=True)
class Report:
    """One run against one target. `checks` are the suite's own: name -> problems."""

    target: str
    profiles: Sequence[str]
    kind: str
    planned: Sequence[Planned]
    verdicts: Sequence[Verdict]
    checks: dict[str, list[str]]

    @property
    def failed(self) -> list[Verdict]:
        """The verdicts with problems."""
        return [verdict for verdict in self.verdicts if verdict.problems]

    @property
    def good(self) -> bool:
        """Whether nothing failed, and something was run."""
        return bool(self.verdicts) and not self.failed and not any(self.checks.values())

    def results(self) -> list[tuple[Planned, str]]:
        """Return each case with its result: passed, failed, or its fate."""
        failed = {verdict.case.id for verdict in self.failed}
        judged = {verdict.case.id for verdict in self.verdicts}
        return [(entry, _result(entry, failed, judged)) for entry in self.planned]


def _result(entry: Planned, failed: set[str], judged: set[str]) -> str:
    if entry.fate is not Fate.RUN:
        return entry.fate
    if entry.case.id not in judged:
        raise ValueError(f"{entry.case.id} was to be run and was not")
    return "failed" if entry.case.id in failed else "passed"


def table(report: Report) -> str:
    """Return the results by category, a line each, and their sums."""
    rows = [("", "", *(_HEADINGS.get(Fate(c), c) if c in list(Fate) else c for c in _COLUMNS))]
    sums: Counter[str] = Counter()
    for category, about in CATEGORIES.items():
        counts = Counter(r for e, r in report.results() if e.case.category == category)
        if counts:
            rows.append((category, about, *_cells(counts)))
            sums += counts
    rows.append(("", f"{len(report.planned)} cases", *_cells(sums)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = [text for fate, text in _LEGEND.items() if sums[fate]]
    return "\n".join([*lines, *notes])


def _cells(counts: Counter[str]) -> list[str]:
    return [str(counts[column] or "") for column in _COLUMNS]


def details(report: Report, *, verbose: bool) -> str:
    """Return what failed and why; with `verbose`, what came of each case."""
    lines: list[str] = []
    for name, problems in report.checks.items():
        lines += [f"FAILED  {name}: {problem}" for problem in problems]
    severe = {severity: rank for rank, severity in enumerate(SEVERITIES)}
    for verdict in sorted(report.failed, key=lambda v: (severe[v.case.severity], v.name)):
        lines += _failure(verdict)
    if verbose:
        lines += _every_case(report)
    return "\n".join(lines)


def _failure(verdict: Verdict) -> Iterator[str]:
    case = verdict.case
    yield f"FAILED  {verdict.name}  {case.severity}  {case.title}  [{case.source}]"
    for problem in verdict.problems:
        yield f"        {problem[:_LONG]}"


def _every_case(report: Report) -> Iterator[str]:
    for verdict in report.verdicts:
        if not verdict.problems:
            yield f"passed  {verdict.name}  {verdict.case.title}: {verdict.happened}"
    for entry in report.planned:
        if entry.fate is not Fate.RUN:
            yield f"{entry.fate}  {entry.case.id}  {entry.case.title}: {entry.why}"


def summary(report: Report) -> str:
    """Return one line that says how it went."""
    failed = {verdict.case for verdict in report.failed}
    ran = {verdict.case for verdict in report.verdicts}
    by_severity = Counter(case.severity for case in failed)
    counted = ", ".join(f"{by_severity[s]} {s}" for s in SEVERITIES if by_severity[s])
    more = f" ({counted})" if counted else ""
    broken = sum(map(bool, report.checks.values()))
    checks = f"; {broken} of the suite's own checks failed" if broken else ""
    return f"{report.target}: {len(ran) - len(failed)} passed, {len(failed)} failed{more}{checks}"


def as_json(report: Report) -> str:
    """Return everything as JSON."""
    return json.dumps(_document(report), indent=1)


def _document(report: Report) -> dict[str, Any]:
    results = report.results()
    return {
        "target": report.target,
        "profiles": list(report.profiles),
        "tokens": report.kind,
        "passed": report.good,
        "totals": dict(Counter(result for _, result in results)),
        "checks": report.checks,
        "cases": [
            {**_about(entry.case), "result": result, "why": entry.why}
            | {"runs": _runs(entry.case, report.verdicts)}
            for entry, result in results
        ],
    }


def _about(case: Case) -> dict[str, str]:
    names = ("id", "category", "severity", "title", "source", "profile")
    return {name: getattr(case, name) for name in names}


def _runs(case: Case, verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    return [
        {"variant": v.variant, "happened": v.happened, "problems": list(v.problems)}
        for v in verdicts
        if v.case is case
    ]
