"""bench/report.py: medians, ratios within a round, and the table as Markdown."""

from __future__ import annotations

import json

import pytest

from bench.measure import Turn
from bench.report import as_json, markdown, rows


def _turn(name: str, number: int, cpu_us: float, kernel_us: float = 1.0) -> Turn:
    requests = 1000
    system = kernel_us * requests / 1e6
    user = cpu_us * requests / 1e6 - system
    return Turn(name, number, requests, 2.0, user, system, resident_bytes=20_000_000)


TURNS = [
    _turn("nginx", 0, 10.0, 7.0),
    _turn("Gatelodge", 0, 40.0, 9.0),
    _turn("Gatelodge", 1, 90.0, 5.0),
    _turn("nginx", 1, 30.0, 2.0),
    _turn("nginx", 2, 20.0, 3.0),
    _turn("Gatelodge", 2, 44.0, 6.0),
]


def test_a_row_holds_median_and_extremes_of_all_rounds() -> None:
    nginx, ours = rows(TURNS)

    assert (nginx.contestant, ours.contestant) == ("nginx", "Gatelodge")
    assert (nginx.cpu_us, nginx.lowest_us, nginx.highest_us) == pytest.approx((20.0, 10.0, 30.0))
    assert (ours.cpu_us, ours.kernel_us) == pytest.approx((44.0, 6.0))
    assert (ours.resident_mb, ours.requests_per_second) == pytest.approx((20.0, 500.0))


def test_the_ratio_is_taken_within_each_round() -> None:
    nginx, ours = rows(TURNS)

    assert nginx.ratio == pytest.approx(1.0)
    # 4, 3 and 2.2; the ratio of the medians would be 2.2, and that of the means 2.9.
    assert ours.ratio == pytest.approx(3.0)


def test_without_the_baseline_there_is_no_ratio() -> None:
    (ours,) = rows([_turn("Gatelodge", 0, 40.0)])

    assert ours.ratio is None


def test_markdown_is_a_table_of_equal_lines_and_a_list_of_facts() -> None:
    jobs = {"nginx": "bare", "Gatelodge": "everything"}

    lines = markdown(rows(TURNS), jobs, {"kernel": "Linux 6"}).splitlines()

    head, rule, nginx, ours, blank, fact = lines
    assert len({len(line) for line in (head, rule, nginx, ours)}) == 1
    assert [cell.strip() for cell in ours.strip("|").split("|")] == [
        "Gatelodge: everything",
        "44.0",
        "40.0-90.0",
        "6.0",
        "3.00",
        "20",
        "500",
    ]
    assert set(rule) == set("|-: ")
    assert (blank, fact) == ("", "- kernel: Linux 6")


def test_a_missing_ratio_is_a_dash() -> None:
    table = rows([_turn("Gatelodge", 0, 40.0)])

    assert "|       - |" in markdown(table, {"Gatelodge": "everything"}, {})


def test_json_holds_every_turn() -> None:
    everything = json.loads(as_json(TURNS, rows(TURNS), {"kernel": "Linux 6"}))

    assert [turn["requests"] for turn in everything["turns"]] == [1000] * 6
    assert everything["rows"][1]["ratio"] == pytest.approx(3.0)
    assert everything["facts"] == {"kernel": "Linux 6"}
