"""What goes around the targets: mutations, the strict reading, replays, and what is told."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import __main__ as campaign
from tests.fuzz import child, cookies, seeds, targets
from tests.fuzz.crashes import FOUND, folder_of, keep
from tests.fuzz.mutate import Mutator
from tests.fuzz.opinions import by_h11
from tests.fuzz.strict import Fault, read_requests, read_response
from tests.fuzz.wire import HEADS, cut

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_mutation_is_repeated_by_its_seed_and_keeps_to_the_size() -> None:
    pool = [b"\x01abc", b"\x02" + bytes(40)]
    mutate = Mutator(pool, [b"<word>"], head=1)
    made = [mutate(pool[0], 16, Random(seed)) for seed in range(200)]
    assert made == [mutate(pool[0], 16, Random(seed)) for seed in range(200)]
    assert len(set(made)) > 100
    assert max(map(len, made)) <= 16
    assert any(b"<word>" in each for each in made)
    assert mutate(b"", 16, Random(1))


def test_seeds_are_there() -> None:
    assert len(seeds.sent()) > 150
    assert b"/public/..;/api/admin/x" in seeds.targets()
    assert len(seeds.cookies()) > 50
    assert any(b"POISON" in answer or b"\0" in answer for answer in seeds.answers())


@pytest.mark.parametrize(
    ("data", "targets_", "fault"),
    [
        (GET * 2, [b"/x", b"/x"], False),
        (b"\r\n" + GET, [b"/x"], False),
        (b"GET /x HTTP/1.1\nHost: a\n\n", [], True),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", [], True),
        (b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n", [], True),
        (b"GET /x HTTP/2.0\r\n\r\n", [], True),
        (b"GET /\xff HTTP/1.1\r\n\r\n", [], True),
        (b"GET /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", [], True),
        (b"GET /x HTTP/1.1\r\nContent-Length: +1\r\n\r\na", [], True),
        (b"GET /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", [], True),
        (b"GET /x HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", [], True),
        (b"GET /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [], True),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", [b"/x"], True),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nab\r\n", [b"/x"], True),
    ],
    ids=range(14),
)
def test_the_strict_reading_of_requests(data: bytes, targets_: list[bytes], fault: bool) -> None:
    reading = read_requests(data)
    assert [request.target for request in reading.requests] == targets_
    assert bool(reading.fault) == fault


def test_the_strict_reading_and_h11_read_the_same_bodies() -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"
    data = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"
        + b"POST /b HTTP/1.1\r\nHost: a\r\n"
    )
    data += chunked + GET[:-1]
    for reading in (read_requests(data), by_h11(data)):
        assert [(r.target, r.body) for r in reading.requests] == [(b"/a", b"ok"), (b"/b", b"ok!")]
    assert read_requests(data).rest == GET[:-1]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "method", "ended", "body", "whole", "reusable", "left"),
    [
        (OK + b"Content-Length: 2\r\n\r\nokX", b"GET", False, b"ok", True, True, b"X"),
        (OK + b"Content-Length: 3\r\n\r\nok", b"GET", True, b"ok", False, True, b""),
        (OK + b"Content-Length: 2\r\n\r\nok", b"HEAD", False, b"", True, True, b"ok"),
        (OK + b"\r\nok", b"GET", False, b"ok", False, False, b""),
        (OK + b"\r\nok", b"GET", True, b"ok", True, False, b""),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            b"GET",
            True,
            b"ok",
            False,
            True,
            b"",
        ),
        (
            OK + b"Connection: Close\r\nContent-Length: 0\r\n\r\n",
            b"GET",
            False,
            b"",
            True,
            False,
            b"",
        ),
        (b"HTTP/1.0 204 \r\nConnection: keep-alive\r\n\r\n", b"GET", False, b"", True, True, b""),
    ],
    ids=range(8),
)
def test_the_strict_reading_of_a_response(
    data: bytes, method: bytes, ended: bool, body: bytes, whole: bool, reusable: bool, left: bytes
) -> None:
    response = read_response(b"HTTP/1.1 103 \r\n\r\n" + data, method=method, ended=ended)
    assert response is not None
    assert response.interim == [103]
    assert (response.body, response.whole, response.left) == (body, whole, left)
    assert response.reusable == reusable


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    ],
    ids=range(7),
)
def test_what_is_no_response_is_a_fault(data: bytes) -> None:
    with pytest.raises(Fault):
        read_response(data)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, [GET + GET + b"x"]),
        (40, [(GET + GET)[:40], (GET + GET)[40:] + b"x"]),
        (HEADS, [GET, GET, b"x"]),
    ],
    ids=["whole", "by size", "by heads"],
)
def test_bytes_are_cut(size: int, pieces: list[bytes]) -> None:
    assert cut(GET + GET + b"x", size) == pieces
    assert cut(b"", size) == []


def test_what_was_found_is_kept_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = keep(tmp_path, "cookies", b"\0a=1")
    assert file.parent == folder_of(tmp_path, "cookies")
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(file)])
    assert campaign.main() == 0
    assert "Cookie: b'a=1'" in capsys.readouterr().out
    monkeypatch.setattr(cookies, "parse", lambda _: [])
    assert campaign.main() == 1
    assert "Finding" in capsys.readouterr().err


def test_a_replay_of_nobody_knows_what_asks_for_the_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "crash"
    file.write_bytes(b"x")
    assert campaign.replay(file, None) == 2
    assert "--only" in capsys.readouterr().err


def test_without_coverage_a_target_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = targets.load("cookies")
    child.plain(target, "cookies", 0.05, tmp_path)
    assert "number_of_executed_units" in capsys.readouterr().err
    monkeypatch.setattr(cookies, "parse", lambda _: [])
    with pytest.raises(SystemExit) as ended:
        child.plain(target, "cookies", 60.0, tmp_path)
    assert ended.value.code == FOUND
    [file] = folder_of(tmp_path, "cookies").iterdir()
    assert str(file) in capsys.readouterr().err


def test_a_missing_engine_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "engine", lambda: None)
    campaign._print_engine()
    assert "Atheris has no wheel for Python" in capsys.readouterr().out


def test_a_run_that_finds_something_fails_and_says_how_to_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "FOLDER", tmp_path)
    script = "import sys; print('Test unit written to x/crash-1', file=sys.stderr); sys.exit(77)"

    def broken(_name: str, _seconds: int, output: int) -> campaign.Told:
        return campaign._code([sys.executable, "-c", script], output), lambda _text: ""

    monkeypatch.setitem(campaign._RUNNERS, "head", broken)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--only", "head"])
    assert campaign.main() == 1
    said = capsys.readouterr().out
    assert "FOUND" in said
    assert "--only head --replay x/crash-1" in said


def test_what_a_run_did_is_summed_up() -> None:
    log = (
        "#5\tREDUCE cov: 9 ft: 12 corp: 4/33b lim: 8 exec/s: 1\n"
        "stat::number_of_executed_units: 1234\nstat::asked_at_11_servers: 56\n"
    )
    told = campaign._summary(log)
    assert told == (
        "1,234 executions, 56 asked at 11 servers, 9 edges, 12 features, corpus of 4 inputs (33b)"
    )
