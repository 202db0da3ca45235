"""What is told of a run."""

from __future__ import annotations

import json

import pytest

from tests.hostile.cases import load, load_left_out
from tests.hostile.engine import Verdict, plan, runs
from tests.hostile.report import Report, as_json, details, summary, table

CASES = load()[1]
PLANNED = plan(CASES, load_left_out(), profiles=("base",), our_process=False)


def report_with(problems: dict[str, tuple[str, ...]], **checks: list[str]) -> Report:
    """Return the report of a run in which these cases (by name) had these problems."""
    verdicts = [
        Verdict(case, variant, problems.get(Verdict(case, variant, (), "").name, ()), "400")
        for case, variant in runs(PLANNED)
    ]
    return Report("host:1", ["base"], "authjs", PLANNED, verdicts, checks)


def test_a_run_without_problems_is_good() -> None:
    report = report_with({}, minted=[])
    assert report.good
    assert details(report, verbose=False) == ""
    assert summary(report).startswith("host:1: 186 passed, 0 failed")


def test_one_variant_that_fails_is_a_case_that_fails() -> None:
    report = report_with({"TK-16-nan": ("let in", "and more"), "PA-08": ("reached",)})
    assert not report.good
    assert summary(report) == "host:1: 184 passed, 2 failed (1 critical, 1 high)"
    lines = details(report, verbose=False).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FAILED")] == [
        "PA-08",
        "TK-16-nan",
    ]
    assert lines[-2:] == ["        let in", "        and more"]


def test_a_check_of_the_suite_that_fails_is_not_good() -> None:
    report = report_with({}, minted=["status 401, not 200"])
    assert not report.good
    assert details(report, verbose=False) == "FAILED  minted: status 401, not 200"
    assert summary(report).endswith("; 1 of the suite's own checks failed")


def test_a_run_of_nothing_is_not_good() -> None:
    planned = plan(CASES[:0], {})
    assert not Report("host:1", [], "authjs", planned, [], {}).good


def test_a_case_that_was_to_be_run_cannot_be_forgotten() -> None:
    with pytest.raises(ValueError, match="was to be run and was not"):
        table(Report("host:1", ["base"], "authjs", PLANNED, [], {}))


def test_the_table_counts_every_case_once() -> None:
    lines = table(report_with({"PA-08": ("reached",)})).splitlines()
    paths = next(line for line in lines if line.startswith("PA"))
    assert paths.split()[2:4] == ["33", "1"]
    total = next(line for line in lines if f"{len(CASES)} cases" in line)
    assert sum(map(int, total.split()[2:])) == len(CASES)


def test_verbose_tells_of_every_case() -> None:
    told = details(report_with({}), verbose=True)
    assert [case.id for case in CASES if f"  {case.id}" not in told] == []
    assert "own suite only  LK-07  " in told


def test_json_holds_every_case() -> None:
    document = json.loads(as_json(report_with({"PA-08": ("reached",)})))
    assert not document["passed"]
    assert sum(document["totals"].values()) == len(document["cases"]) == len(CASES)
    [failed] = [case for case in document["cases"] if case["result"] == "failed"]
    assert failed["id"] == "PA-08"
    assert failed["runs"] == [{"variant": "", "happened": "400", "problems": ["reached"]}]
