"""The command that tells what would happen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Gatelodge, Said
from tests.cli.example import AT, CONFIG, COOKIE, OTHER_SECRET, SECRET, token
from tests.support.adapters import ADAPTERS
from tests.support.postgres import Database

Explain = Any


@pytest.fixture
def explain(gatelodge: Gatelodge, tmp_path: Path) -> Explain:
    def run(*words: str, config: str = CONFIG) -> Said:
        (tmp_path / "gatelodge.yaml").write_text(config, encoding="utf-8")
        return gatelodge("explain", *words, "--at", str(AT))

    return run


def test_a_request_that_would_be_forwarded_is_0(explain: Explain) -> None:
    said = explain("GET", "/x", "--cookie", f"{COOKIE}={token(email='z@example.com')}")
    assert (said.code, said.err) == (0, "")
    assert "\n  X-User-Email: z@example.com\n" in said.out
    assert "forwarded to api, with this head:" in said.out


@pytest.mark.parametrize(
    "words",
    [
        ["GET", "/x"],
        ["GET", "/a/../b"],
        ["GET", "/page", "-H", "Sec-Fetch-Mode: navigate"],
        ["TRACE", "/x"],
    ],
    ids=["no session", "bad path", "sent to sign in", "method"],
)
def test_a_request_that_would_be_refused_is_1(explain: Explain, words: list[str]) -> None:
    said = explain(*words)
    assert (said.code, said.err) == (1, "")


@pytest.mark.parametrize(("method", "code"), [("PUT", 0), ("BREW", 1)])
def test_a_preflight_is_0_when_it_is_granted(explain: Explain, method: str, code: int) -> None:
    origin = ["-H", "Origin: https://app.example.com"]
    asks = ["-H", f"Access-Control-Request-Method: {method}"]
    assert explain("OPTIONS", "/x", *origin, *asks).code == code


def test_neither_tokens_nor_secrets_are_printed(explain: Explain) -> None:
    good, bad = token(), token(OTHER_SECRET)
    for value in (good, bad):
        for more in ([], ["--json"]):
            cookie = ["--cookie", f"{COOKIE}={value}"]
            said = explain("GET", "/x", *cookie, "--bearer", value, *more)
            assert value not in said.out + said.err
            assert value[-20:] not in said.out + said.err
            assert SECRET not in said.out + said.err


@pytest.mark.parametrize("name", ["Cookie: ", "cookie:", ""])
def test_cookies_may_be_copied_with_the_name_of_their_header(explain: Explain, name: str) -> None:
    said = explain("GET", "/x", "--cookie", f"{name}{COOKIE}={token()}")
    assert (said.code, said.err) == (0, "")


def test_cookies_headers_bearer_and_peer_arrive(explain: Explain) -> None:
    said = explain(
        *("get", "https://h.example/tenant/x?q", "--cookie", "a=1; b=2", "--cookie", "c=3"),
        *("-H", "X-One: 1", "--header", "X-Two:2"),
        *("--bearer", token(OTHER_SECRET, cookie="tenant-session")),
        *("--peer", "10.0.0.7", "-H", "X-Forwarded-For: 203.0.113.9", "--json"),
    )
    told = json.loads(said.out)
    assert said.code == 0
    assert told["client"]["address"] == "203.0.113.9"
    assert told["session"]["source"] == "bearer"
    assert told["head"][:2] == ["GET /tenant/x?q HTTP/1.1", "Host: h.example"]
    for line in ("X-One: 1", "X-Two: 2", "Cookie: a=1; b=2; c=3"):
        assert line in told["head"]


def test_health_is_answered_before_any_routing(explain: Explain) -> None:
    said = explain("GET", "/healthz")
    assert said.code == 0
    assert "answered by the gateway: 200 (health_path, before any routing)" in said.out
    assert explain("GET", "/healthz/").code == 1


def test_health_is_not_answered_to_what_is_refused_before(explain: Explain) -> None:
    said = explain("BREW", "/healthz")
    assert said.code == 1
    assert "501" in said.out


PLAIN = CONFIG.replace("public_origin: https://api.example.com\n", "")


def test_https_that_the_gateway_cannot_know_of_is_noted(explain: Explain) -> None:
    url = "https://api.example.com/public/x"
    said = explain("GET", url, config=PLAIN)
    assert "Note: The URL is https, but the gateway cannot know" in said.out
    assert "http, directly" in said.out
    proxied = ["--peer", "10.0.0.1", "-H", "X-Forwarded-Proto: https"]
    assert "Note:" not in explain("GET", url, *proxied, config=PLAIN).out
    assert "Note:" not in explain("GET", url).out
    assert "Note:" not in explain("GET", url.replace("https", "http"), config=PLAIN).out


@pytest.mark.parametrize(
    "words",
    [
        ["GET"],
        ["GET", "nonsense"],
        ["GET", "/a b"],
        ["GET", "/a\nb"],
        ["GET", "/x", "-H", "no colon"],
        ["GET", "/x", "-H", "A: b\nC: d"],
        ["GET", "/x", "--cookie", "a\r\nb"],
        ["GET", "/x", "--at", "noon"],
        ["GET", "/x", "-H", "Content-Length: -1"],
        ["G T", "/x"],
        ["GÉT", "/x"],
        ["GET", "/x", "--peer", "nobody"],
    ],
)
def test_what_has_no_meaning_is_a_usage_error(explain: Explain, words: list[str]) -> None:
    said = explain(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err


@pytest.mark.parametrize("at", ["nan", "inf", "-1", "1e300"])
def test_what_is_no_time_is_a_usage_error(gatelodge: Gatelodge, at: str) -> None:
    assert gatelodge("explain", "GET", "/x", "--at", at).code == 2


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_bytes_that_are_no_text_arrive_and_are_escaped(explain: Explain, more: list[str]) -> None:
    """An argument with the byte 0xFF reaches us as U+DCFF (PEP 383)."""
    said = explain("GET", "/public/x", "-H", "X-Odd: a\udcffb", *more)
    assert said.code == 0
    assert "X-Odd: a\\xffb" in said.out.replace("\\\\", "\\")
    said = explain("GET", "/a\udcffb", *more)
    assert said.code == 1
    assert "/a\\xffb" in said.out.replace("\\\\", "\\")
    assert explain("GET", "http://h\udcff/x", *more).code == 1


def test_a_name_that_would_command_the_terminal_is_escaped(explain: Explain) -> None:
    value = token(name="a\x1b[2Jb\u202ec")
    said = explain("GET", "/x", "--cookie", f"{COOKIE}={value}")
    assert "name a\\x1b[2Jb\\u202ec" in said.out


def test_a_peer_may_be_a_unix_socket(explain: Explain) -> None:
    assert "unix, http, directly" in explain("GET", "/x", "--peer", "unix").out


def test_without_a_time_it_is_now(gatelodge: Gatelodge, tmp_path: Path) -> None:
    (tmp_path / "gatelodge.yaml").write_text(CONFIG, encoding="utf-8")
    cookie = ["--cookie", f"{COOKIE}={token(exp=1_000_000_000)}"]
    assert "session_expired" in gatelodge("explain", "GET", "/x", *cookie).out


STORED = """
sessions: {{web: {{database: {{url: "{url}", columns: [role]}}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:1]}}}}
routes: [{{path: /**, upstream: api}}]
"""


@pytest.fixture
async def stored(database: Database) -> str:
    adapter = ADAPTERS["prisma"]
    await database.set_up(adapter)
    await database.run(
        'alter table "User" add role text; update "User" set role = \'admin\'',
        adapter.insert_session("the-token", AT + 60),
        adapter.insert_session("the-old-token", AT - 60),
    )
    return STORED.format(url=database.url)


def test_connect_looks_a_stored_session_up(explain: Explain, stored: str) -> None:
    words = ["GET", "/x", "--connect", "--json", "--cookie"]
    said = explain(*words, f"{COOKIE}=the-token", config=stored)
    told = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert (told["session"]["state"], told["session"]["kind"]) == ("valid", "database")
    assert told["session"]["expires"] == AT + 60
    assert told["principal"]["roles"] == ["admin"]
    assert "X-User-Email: ada@example.com" in told["head"]
    for value, code in (("the-old-token", "session_expired"), ("unknown", "session_invalid")):
        said = explain(*words, f"{COOKIE}={value}", config=stored)
        assert (said.code, json.loads(said.out)["outcome"]["code"]) == (1, code)


def test_connect_says_why_a_database_cannot_be_asked(explain: Explain, stored: str) -> None:
    words = ["GET", "/x", "--connect", "--cookie", f"{COOKIE}=the-token"]
    for config, told in (
        (stored.replace("[role]", "[rôle]"), "has no column 'rôle', did you mean 'role'?"),
        (stored.replace("postgres:", "nobody:", 1), "it refuses the password"),
    ):
        said = explain(*words, config=config)
        assert said.code == 1
        assert told in said.out
        assert "session_store_down" in said.out


def test_without_connect_a_stored_session_is_not_looked_up(explain: Explain) -> None:
    config = STORED.format(url="postgres://app:hunter2@nowhere.invalid/shop")
    said = explain("GET", "/x", "--cookie", f"{COOKIE}=the-token", config=config)
    assert said.code == 1
    assert "The session is looked up in the database with --connect." in said.out
    assert "hunter2" not in said.out
    assert "the-token" not in said.out
