"""The routing table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Gatelodge
from tests.cli.example import CONFIG, SECRET


@pytest.fixture(autouse=True)
def file(tmp_path: Path) -> None:
    limits = "path: /tenant/**, rate_limit: [{by: ip, rate: 3/h}, {by: user, rate: 9/s}],"
    text = CONFIG.replace("path: /tenant/**,", limits)
    (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")


def test_the_table_is_in_the_order_in_which_it_is_tried(gatelodge: Gatelodge) -> None:
    said = gatelodge("routes")
    assert (said.code, said.err) == (0, "")
    asks = "required, role admin or root, org.plan = pro, e-mail at example.com"
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in said.out.splitlines()]
    assert cells == [
        ["HOST", "PATH", "METHODS", "AUTH", "SESSIONS", "LIMITS", "UPSTREAM"],
        ["*.files.example.com", "/files/**", "GET,PUT", "required", "web,tenant", "-", "api"],
        ["*", "/admin/**", "*", asks, "web", "-", "api"],
        ["*", "/maybe/**", "*", "optional", "web,tenant", "-", "api"],
        ["*", "/page", "*", "required", "web,tenant", "-", "api"],
        ["*", "/public/**", "*", "public", "-", "-", "own"],
        ["*", "/tenant/**", "*", "required", "tenant", "3/h by ip, 9/s by user", "api"],
        ["*", "/**", "*", "required", "web,tenant", "-", "api"],
    ]


def test_the_table_as_json(gatelodge: Gatelodge) -> None:
    said = gatelodge("routes", "--json")
    rows = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert rows[0] == {
        "host": "*.files.example.com",
        "path": "/files/**",
        "methods": ["GET", "PUT"],
        "auth": "required",
        "require": {},
        "sessions": ["web", "tenant"],
        "rate_limits": [],
        "upstream": "api",
    }
    assert rows[1]["require"]["roles"] == ["admin", "root"]
    assert rows[-1] == rows[-1] | {"host": None, "path": "/**", "methods": None}
    [limited] = [row for row in rows if row["rate_limits"]]
    assert limited["rate_limits"][0] == {
        "scope": "/tenant/**",
        "by": "ip",
        "rate": "3/h",
        "burst": 3,
        "shared": False,
    }
    assert SECRET not in said.out
