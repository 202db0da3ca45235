"""Everything that is wrong with a configuration."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli import certificates
from tests.cli.conftest import Gatelodge, Said
from tests.cli.example import CONFIG, SECRET
from tests.support.adapters import ADAPTERS
from tests.support.certificates import Authority
from tests.support.postgres import Database
from tests.support.valkey import Valkey

Check = Any


@pytest.fixture
def check(gatelodge: Gatelodge, tmp_path: Path) -> Check:
    def run(text: str, *words: str) -> Said:
        (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")
        return gatelodge("check", *words)

    return run


TESTS = """\
tests:
  - {request: GET /admin/x, as: {roles: [user]}, expect: 403}
  - {request: GET /x, as: {id: zoe}, expect: 403}
  - request: GET /x
    expect: {status: 200, upstream: own}
"""


def test_a_good_configuration_is_one_line(check: Check) -> None:
    said = check(CONFIG + "\n".join(TESTS.splitlines()[:2]))
    assert said == Said(0, "OK: 7 routes, 2 upstreams, 1 tests\n", "")


def test_every_problem_is_told_with_its_place(check: Check) -> None:
    said = check(CONFIG.replace("/healthz", "[]") + "rotues: 1\nwokers: 2\n")
    assert (said.code, said.out) == (1, "")
    lines = [line for line in said.err.splitlines() if line.startswith("gatelodge.yaml:")]
    end = len(CONFIG.splitlines())
    assert [line.split(":")[1] for line in lines] == ["3", str(end + 1), str(end + 2)]
    assert "did you mean 'routes'?" in lines[1]


def test_a_test_that_fails_is_told_with_its_place(check: Check) -> None:
    said = check(CONFIG + TESTS)
    assert (said.code, said.out) == (1, "")
    start = len(CONFIG.splitlines())
    assert said.err.splitlines() == [
        f"gatelodge.yaml:{start + 3}:46: the test fails: GET /x as zoe: expected 403, "
        "got 200 (forwarded to upstream api) by route /**",
        "    - {request: GET /x, as: {id: zoe}, expect: 403}",
        "                                               ^",
        f"gatelodge.yaml:{start + 5}:13: the test fails: GET /x: "
        "expected 200 (forwarded), upstream own, got 401 session_missing by route /**",
        "    expect: {status: 200, upstream: own}",
        "            ^",
    ]


def test_a_certificate_that_cannot_be_used_is_told(check: Check, tmp_path: Path) -> None:
    one, two = (certificates.make(tmp_path, name) for name in ("one", "two"))
    tls = f"host: upstream, tls: {{cert: {one.cert}, key: {two.key}}}"
    text = CONFIG.replace('["http://127.0.0.1:8003"], host: upstream', f'["https://h:1"], {tls}')
    said = check(text + TESTS, "--connect")
    assert said.code == 1
    assert "the key is not that of the certificate" in said.err
    assert said.err.count("the test fails") == 2
    assert "cannot be reached" not in said.err


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ((-90, -2.5), "the certificate has expired 2 days ago"),
        ((1.5, 90), "the certificate is valid only in 1 day; is the clock right?"),
        ((-80, 3.5), "the certificate expires in 3 days"),
        ((-1, 8), None),
    ],
)
def test_a_certificate_that_is_not_valid_for_long_is_a_warning(
    check: Check, tmp_path: Path, days: tuple[float, float], told: str | None
) -> None:
    cert, key = Authority(tmp_path).issue("localhost", days=days)
    listen = f"listen: {{address: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}\n"
    said = check(listen + with_endpoints("http://127.0.0.1:1"))
    assert said.code == 0
    assert said.out == "OK: 1 routes, 1 upstreams, 0 tests\n"
    assert said.err.count("warning: ") == (told is not None)
    assert (told or "") in said.err
    found = json.loads(check(listen + with_endpoints("http://127.0.0.1:1"), "--json").out)
    assert found["ok"]
    assert [each["key"] for each in found["warnings"]] == [["listen", "tls", "cert"]] * bool(told)


@pytest.fixture
def endpoint() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def with_endpoints(*endpoints: str) -> str:
    return (
        f"upstreams: {{api: {{endpoints: {json.dumps(endpoints)}}}}}\n"
        "routes: [{path: /**, upstream: api, auth: public}]\n"
    )


def test_connect_tries_every_endpoint(check: Check, endpoint: str) -> None:
    said = check(with_endpoints(endpoint), "--connect")
    assert said.code == 0
    assert said.err == f"upstream api: {endpoint} can be reached\n"
    assert said.out == "OK: 1 routes, 1 upstreams, 0 tests\n"


def test_an_endpoint_that_cannot_be_reached_is_1(
    check: Check, endpoint: str, tmp_path: Path
) -> None:
    gone = f"unix:{tmp_path / 'gone.sock'}"
    said = check(with_endpoints(endpoint, gone), "--connect")
    assert (said.code, said.out) == (1, "")
    assert f"upstream api: {gone} cannot be reached: " in said.err


def test_without_connect_nobody_is_asked(check: Check, tmp_path: Path) -> None:
    assert check(with_endpoints(f"unix:{tmp_path / 'gone.sock'}")).code == 0


def test_json_when_all_is_well(check: Check, endpoint: str) -> None:
    said = check(with_endpoints(endpoint), "--json", "--connect")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out) == {
        "ok": True,
        "problems": [],
        "warnings": [],
        "routes": 1,
        "upstreams": 1,
        "tests": 0,
        "endpoints": [{"upstream": "api", "endpoint": endpoint, "problem": ""}],
        "databases": [],
        "redis": None,
    }


def stored(url: str, more: str = "") -> str:
    """Return a configuration whose sessions are in a database."""
    return (
        f'sessions: {{web: {{database: {{url: "{url}"{more}}}}}}}\n'
        "upstreams: {api: {endpoints: [http://127.0.0.1:1]}}\n"
        "routes: [{path: /**, upstream: api}]\n"
    )


@pytest.fixture
async def adapted(database: Database) -> Database:
    await database.set_up(ADAPTERS["pg"])
    return database


def test_connect_says_where_the_sessions_are(check: Check, adapted: Database) -> None:
    said = check(stored(adapted.url), "--connect")
    assert (
        "session web: the database has public.sessions (sessionToken, userId, expires), "
        "public.users (id, name, email, image)\n"
    ) in said.err
    assert (
        "session web: no index on the token: "
        'create unique index concurrently on "public"."sessions" ("sessionToken")\n'
    ) in said.err


def test_connect_says_why_a_database_cannot_be_asked(check: Check, adapted: Database) -> None:
    for url, more, told in (
        (adapted.url.replace("postgres:", "nobody:"), "", "it refuses the password"),
        (adapted.url, ", columns: [role]", "public.users has no column 'role'"),
    ):
        said = check(stored(url, more), "--connect", "--json")
        [found] = json.loads(said.out)["databases"]
        assert said.code == 1
        assert found["session"] == "web"
        assert found["problem"].startswith(told)
        assert "127.0.0.1:" + adapted.url.rpartition(":")[2] not in said.out + said.err


def test_without_connect_no_database_is_asked(check: Check) -> None:
    said = check(stored("postgres://app:hunter2@nowhere.invalid/shop"))
    assert (said.code, said.err) == (0, "")
    assert "hunter2" not in said.out


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (CONFIG + TESTS, [["tests", 1, "expect"], ["tests", 2, "expect"]]),
        (CONFIG + "rotues: 1\n", [["rotues"]]),
        ("a: [", [[]]),
    ],
    ids=["tests", "shape", "syntax"],
)
def test_json_when_something_is_wrong(check: Check, text: str, places: list[list[Any]]) -> None:
    said = check(text, "--json")
    told = json.loads(said.out)
    assert (said.code, said.err, told["ok"]) == (1, "", False)
    assert [problem["key"] for problem in told["problems"]] == places
    assert all(problem["file"] == "gatelodge.yaml" for problem in told["problems"])


def test_no_secret_is_printed(check: Check) -> None:
    for text in (CONFIG + TESTS, CONFIG.replace("kind: authjs, secret", "kind: nope, secret")):
        for words in ((), ("--json",)):
            said = check(text, *words)
            assert said.code == 1
            assert SECRET not in said.out + said.err


def test_connect_asks_redis(check: Check, valkey: Valkey, endpoint: str) -> None:
    said = check(with_endpoints(endpoint) + f"redis: {{url: {valkey.url}}}\n", "--connect")
    assert said.code == 0
    assert "redis: it can be asked\n" in said.err
    text = with_endpoints(endpoint) + "redis: {url: 'redis://:hunter2@127.0.0.1:1'}\n"
    said = check(text, "--connect")
    assert said.code == 1
    assert "redis: it cannot be asked: no connection: Connection refused\n" in said.err
    assert json.loads(check(text, "--connect", "--json").out)["redis"] == {
        "problem": "no connection: Connection refused"
    }
    assert check(text).code == 0
