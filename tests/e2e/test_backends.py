"""Real backends and real parsers in the place of the models that the quick tests have of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import differential, head, target
from tests.fuzz.servers import Server, ask_all, start_servers
from tests.support.backends import GUARDED, NOTHING, OPEN, REAL, REFUSED

READINGS = {
    "plain": "/admin/x",
    "no slash": "/admin",
    "slash": "/admin/",
    "parameter": "/users/7/admin/x",
    "open": "/public/x?x=/admin",
    "nothing": "/x",
    "upper case": "/ADMIN/x",
    "encoded letter": "/%61dmin",
    "encoded letters below a parameter": "/users/7/%61dmi%6e",
    "encoded slash": "/admin%2fx",
    "encoded slash first": "/%2fadmin",
    "encoded slash in a parameter": "/users/a%2fb/admin",
    "parameters of a segment": "/admin;x",
    "space": "/admin%20",
    "dot": "/admin.",
    "newline": "/admin%0a",
    "newline in the rest": "/public/x%0ay",
    "NUL": "/admin%00",
    "two slashes first": "//admin",
    "two slashes": "/public//admin",
    "two slashes below a parameter": "/users//admin",
    "two slashes behind": "/users/7/admin//x",
    "dot segments": "/public/../admin",
    "dot segments, encoded": "/public/%2e%2e/admin",
    "dot segments and an encoded slash": "/public/..%2fadmin",
    "dot segments in a parameter": "/users/../admin/x",
    "too many dot segments": "/../../admin",
    "one dot": "/./admin",
    "one dot at the end": "/admin/.",
    "backslash": "/public/..\\admin",
    "encoded backslash": "/public/..%5cadmin",
    "encoded twice": "/%2561dmin",
    "no UTF-8": "/public/%ff",
    "no UTF-8 in a parameter": "/users/%ff/admin",
    "overlong dots": "/public/%c0%ae%c0%ae/admin",
    "wide slash": "/public/..%ef%bc%8fadmin",
    "malformed escape": "/public/%zz",
    "malformed escape in a parameter": "/users/%zz/admin",
    "question mark, encoded": "/admin%3fx",
    "hash, encoded": "/admin%23x",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    with tempfile.TemporaryDirectory() as folder, start_servers(Path(folder), go=False) as started:
        yield started


@pytest.fixture(scope="module")
def served(servers: list[Server]) -> dict[str, dict[str, str]]:
    """Server -> target -> handler."""
    targets = list(READINGS.values())
    answers = asyncio.run(ask_all(servers, targets))
    return {name: dict(zip(targets, served, strict=True)) for name, served in answers.items()}


ALWAYS = sorted(name for name in REAL if not name.startswith("go-"))
"""Go's compiler is nothing that these tests may ask for; `make fuzz` compares it where it is."""


def test_every_model_of_a_real_server_has_that_server(servers: list[Server]) -> None:
    assert sorted(server.name for server in servers) == ALWAYS


@pytest.mark.parametrize("name", ALWAYS)
def test_a_model_reads_as_its_server_does(served: dict[str, dict[str, str]], name: str) -> None:
    model, differences = REAL[name], []
    for target_, handler in served[name].items():
        expected = model.handler(target_)
        if handler != expected and not {handler, expected} <= {NOTHING, REFUSED}:
            differences.append(f"{target_}: {handler}, the model says {expected}")
    assert differences == []


@pytest.mark.parametrize("name", ALWAYS)
def test_a_server_tells_its_handlers_apart(served: dict[str, dict[str, str]], name: str) -> None:
    answers = served[name]
    assert (answers["/admin/x"], answers["/public/x?x=/admin"]) == (GUARDED, OPEN)
    assert answers["/x"] == NOTHING


def test_no_server_serves_a_stranger_what_is_guarded(servers: list[Server]) -> None:
    inputs = list(
        islice(differential.generated(Random(20_261_125)), len(list(target.seeds())) + 1500)
    )
    assert differential.judge(inputs, servers) > 300


def test_node_reads_what_we_forward_as_we_do() -> None:
    for data in head.seeds():
        head.check(data, ["Node"])
