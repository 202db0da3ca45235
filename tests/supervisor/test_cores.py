"""proxy/supervisor/cores.py: how many workers are enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.supervisor.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", ALL),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1 100000\n", 1),
        ("100001 100000\n", min(2, ALL)),
        ("99900000 100000\n", ALL),
        ("100000 0\n", ALL),
        ("", ALL),
        ("rubbish", ALL),
        ("-1 100000", ALL),
    ],
)
def test_a_container_has_as_many_cores_as_its_quota_pays_for(
    tmp_path: Path, quota: str, cores: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores((file,)) == cores


def test_without_a_quota_it_has_those_that_it_may_run_on(tmp_path: Path) -> None:
    assert usable_cores((tmp_path / "none",)) == ALL
    assert usable_cores() >= 1
