from __future__ import annotations

import json
import os
import re
import select
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.client import Client
from proxy.core.exchange import Exchange
from proxy.telemetry.access import BATCH, HELD, AccessLog, as_json, as_text
from tests.support.exchanges import COOKIE, NOW, SECRET, SEED, exchange, head, rules_of

RULES = rules_of(f"""
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /api/**, upstream: api}}]
""")
TIME = datetime.fromtimestamp(NOW, UTC)


def finished(target: str = "/api/x?token=SECRET1", **changes: Any) -> Exchange:
    request = head(
        ("Cookie", f"{COOKIE}=SECRET2"),
        ("Authorization", "Bearer SECRET3"),
        ("User-Agent", "x\x1b[31m"),
        method=changes.pop("method", "PUT"),
        target=target,
    )
    settings: dict[str, Any] = {
        "traceparent": "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01",
        "client": Client("198.51.100.9", "https", True),
        "route": RULES.routes.rows()[0],
        "session": "web",
        "session_result": "valid",
        "user": "u-1",
        "status": 502,
        "code": "upstream_protocol",
        "reason": "the answer has status 99",
        "upstream": "api",
        "endpoint": "127.0.0.1:8000",
        "attempts": 2,
        "upstream_seconds": 0.1234567,
        "bytes_in": 5,
        "bytes_out": 7,
    }
    return exchange(request, **(settings | changes))


def told(x: Exchange, seconds: float = 0.5) -> dict[str, Any]:
    """Return the JSON line of an exchange."""
    line = as_json(x, seconds)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_says_what_happened() -> None:
    assert told(finished(), 1.23456789) == {
        "time": "2027-01-15T08:00:00.000+00:00",
        "event": "request",
        "request_id": SEED[:32],
        "trace_id": "a1" * 16,
        "client": "198.51.100.9",
        "method": "PUT",
        "path": "/api/x",
        "route": "/api/**",
        "user": "u-1",
        "status": 502,
        "code": "upstream_protocol",
        "reason": "the answer has status 99",
        "upstream": "api",
        "endpoint": "127.0.0.1:8000",
        "attempts": 2,
        "duration": 1.234568,
        "upstream_duration": 0.123457,
        "bytes_in": 5,
        "bytes_out": 7,
    }


def test_what_is_not_known_is_null_and_never_left_out() -> None:
    bare = exchange(head(), status=404)
    found = told(bare, 0.0)
    assert found.keys() == told(finished()).keys()
    absent = {name for name, value in found.items() if value is None}
    assert absent == {
        *("route", "user", "code", "reason", "upstream", "endpoint", "upstream_duration")
    }


def test_what_cannot_be_parsed_has_a_line_too() -> None:
    x = exchange(head(method="", target="", host=None), status=400, code="bad_request")
    assert (told(x)["method"], told(x)["path"]) == ("", "")
    assert as_text(x, 0.0) == f"{TIME:%H:%M:%S} 400 - - 0.0 ms bad_request\n".encode()


def test_the_text_form_is_for_reading() -> None:
    expected = "502 PUT /api/x 500.0 ms user=u-1 upstream_protocol: the answer has status 99"
    assert as_text(finished(), 0.5) == f"{TIME:%H:%M:%S} {expected}\n".encode()
    plain = finished(user="", code="", reason="", status=200)
    assert as_text(plain, 0.00149) == f"{TIME:%H:%M:%S} 200 PUT /api/x 1.5 ms\n".encode()


@pytest.mark.parametrize(
    "target",
    [
        "/api/x?token=SECRET1",
        "/api/x?a#SECRET1",
        "/api/x#SECRET1",
        "/api/x??/SECRET1?",
        "http://ada:SECRET1@api.example.com/api/x",
        "ada:SECRET1@SECRET2@api.example.com/api/x",
    ],
)
def test_no_secret_of_the_request_is_in_a_line(target: str) -> None:
    """LK-08."""
    for render in (as_json, as_text):
        line = render(finished(target), 0.5)
        assert b"SECRET" not in line
        assert b"/api/x" in line


ODD = {
    "LK-07": ("/public/%1b%5b31m%0aFAKE", "/public/%1b%5b31m%0aFAKE"),
    "escape": ("/\x1b[31m", r"/\x1b[31m"),
    "line ends": ("/a\r\n{}\n", r"/a\r\n{}\n"),
    "NUL and DEL": ("/\0\x7f", r"/\x00\x7f"),
    "C1": ("/\x9b31m", r"/\x9b31m"),
    "bytes": ("/\udcff\udc80", r"/\udcff\udc80"),
    "bidi": ("/\u202egnp.exe", r"/\u202egnp.exe"),
    "beyond": ("/\U0001f600é", r"/\U0001f600\xe9"),
    "quotes": ("/\"'", "/\"'"),
    "backslash": ("/\\n", r"/\\n"),
}


@pytest.mark.parametrize(("sent", "shown"), ODD.values(), ids=ODD)
def test_what_could_end_a_line_or_move_a_cursor_is_escaped(sent: str, shown: str) -> None:
    x = finished(sent, user=sent)
    assert told(x)["path"] == shown
    assert told(x)["user"] == shown
    text = as_text(x, 0.5)
    assert text.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in text[:-1])
    assert f" {shown} ".encode() in text
    assert f" user={shown} ".encode() in text


@given(st.text(st.characters()), st.text(st.characters()))
@example("/" + "\\" * 5000, "\\" * 5000)
@example("/" + "\U0001f600" * 5000, '"' * 5000)
@example("/" + "\udcff" * 5000, "\x1b" * 5000)
def test_any_line_is_one_line_and_fits_into_a_pipe_at_once(target: str, user: str) -> None:
    x = finished(target, user=user)
    told(x)
    for line in (as_json(x, 0.5), as_text(x, 0.5)):
        assert line.count(b"\n") == 1
        assert all(0x20 <= byte < 0x7F for byte in line[:-1])
        assert len(line) <= select.PIPE_BUF


@pytest.mark.parametrize("character", ["a", "\x1b"], ids=["plain", "escaped"])
def test_what_is_cut_shows_that_it_is(character: str) -> None:
    whole = told(finished("/" + "a" * 1023, user="b" * 256))
    assert (whole["path"], whole["user"]) == ("/" + "a" * 1023, "b" * 256)
    cut = told(finished("/" + character * 2000, user=character * 300))
    assert (len(cut["path"]), len(cut["user"])) == (1024, 256)
    assert cut["path"].endswith("...")
    assert cut["user"].endswith("...")


# The log itself.


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test closed it


def numbered(x: Exchange, _: float) -> bytes:
    """Render the exchange as its number and a filling of `bytes_out` bytes."""
    return b"%d %s\n" % (x.attempts, b"x" * x.bytes_out)


def add(log: AccessLog, number: int, size: int = 100) -> None:
    log.add(exchange(head(), attempts=number, bytes_out=size), 0.0)


def drain(reader: int) -> bytes:
    """Return all that is in the pipe."""
    data = b""
    try:
        while piece := os.read(reader, 1 << 16):
            data += piece
    except BlockingIOError:
        pass
    return data


def numbers(data: bytes) -> list[int]:
    """Return the numbers of the lines, each of which must be whole."""
    assert data == b"" or data.endswith(b"\n")
    lines = data.split(b"\n")[:-1]
    assert all(re.fullmatch(rb"\d+ x*", line) for line in lines)
    return [int(line.split(b" ")[0]) for line in lines]


def test_lines_wait_for_the_next_flush(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = AccessLog(writer, numbered)
    add(log, 1)
    add(log, 2)
    assert drain(reader) == b""
    log.flush()
    assert numbers(drain(reader)) == [1, 2]
    log.flush()
    assert drain(reader) == b""
    assert (log.dropped, repr(log)) == (0, "<AccessLog held=0 dropped=0>")


def test_a_full_batch_does_not_wait(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = AccessLog(writer, numbered)
    count = 0
    while not (data := drain(reader)):
        count += 1
        assert count * 1000 < BATCH * 2
        add(log, count, 1000)
    assert count * 1000 > BATCH * 0.9
    log.flush()
    assert numbers(data + drain(reader)) == list(range(1, count + 1))


def test_a_reader_that_is_behind_costs_lines_and_never_time(pipe: tuple[int, int]) -> None:
    """If a write blocked, this test would not end."""
    reader, writer = pipe
    log = AccessLog(writer, numbered)
    total = 3000
    for number in range(total):
        add(log, number, 1000)
    log.flush()
    assert log.dropped > 0
    found = b""
    while data := drain(reader):
        found += data
        log.flush()
    kept = numbers(found)
    # What was kept is what came first, in its order and without a gap; the rest is counted.
    assert kept == list(range(len(kept)))
    assert len(kept) + log.dropped == total
    assert HELD <= len(found) <= HELD + 2 * BATCH
    # Once the reader has caught up, nothing more is lost.
    dropped = log.dropped
    add(log, total, 10)
    log.flush()
    assert numbers(drain(reader)) == [total]
    assert log.dropped == dropped


def test_every_write_is_of_whole_lines_that_a_pipe_takes_at_once() -> None:
    """A socket of datagrams gives back each write for itself."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with reader, writer:
        reader.setblocking(False)
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        log = AccessLog(writer.fileno(), numbered)
        sizes = [10, 2000, 2000, 50, select.PIPE_BUF - 3, 1, 4000, 90, select.PIPE_BUF - 3, 3, 3]
        for number, size in enumerate(sizes):
            add(log, number, size)
        found = []
        for _ in sizes:
            log.flush()
            while select.select([reader], [], [], 0)[0]:
                write = reader.recv(1 << 16)
                assert len(write) <= select.PIPE_BUF
                found += numbers(write)
        assert found == list(range(len(sizes)))


def test_a_line_that_is_longer_than_that_goes_alone(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = AccessLog(writer, numbered)
    for number, size in enumerate([10, 9000, 10]):
        add(log, number, size)
    log.flush()
    assert numbers(drain(reader)) == [0, 1, 2]


@pytest.mark.parametrize("closed", [0, 1], ids=["reader gone", "closed"])
def test_when_nobody_reads_any_more_lines_are_counted_and_nothing_else(
    pipe: tuple[int, int], closed: int
) -> None:
    log = AccessLog(pipe[1], numbered)
    os.close(pipe[closed])
    for number in range(3):
        add(log, number)
    log.flush()
    assert log.dropped == 3
    assert repr(log) == "<AccessLog held=0 dropped=3>"


def test_a_file_gets_everything(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        log = AccessLog(descriptor, numbered)
        for number in range(500):
            add(log, number, 1000)
        log.flush()
    finally:
        os.close(descriptor)
    assert numbers(file.read_bytes()) == list(range(500))
    assert log.dropped == 0
