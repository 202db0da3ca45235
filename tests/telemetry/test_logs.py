from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proxy.telemetry.logs import JsonFormatter, TextFormatter, set_up, wants_json

FIXED = 1_800_000_000.25


def record(message: str = "listening", *args: Any, **more: Any) -> logging.LogRecord:
    extra = more.pop("extra", {})
    settings = {"level": logging.INFO, "exc_info": None} | more
    made = logging.LogRecord(
        "gatelodge.x", settings["level"], "x.py", 1, message, args, settings["exc_info"]
    )
    made.created = FIXED
    made.__dict__.update(extra)
    return made


def failed(message: str) -> Any:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def test_a_json_line_says_when_how_bad_and_what() -> None:
    line = JsonFormatter().format(record("port %d", 8080, extra={"listener": "main", "n": 1}))
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "level": "info",
        "event": "port 8080",
        "listener": "main",
        "n": 1,
    }


def test_a_json_line_is_one_line_whatever_is_in_it() -> None:
    odd = "a\r\n\x1b[31m\u2028\udcff"
    line = JsonFormatter().format(record(odd, extra={"odd": odd}, exc_info=failed(odd)))
    assert line.isascii()
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["event"] == odd


def test_a_json_line_holds_the_traceback() -> None:
    line = json.loads(JsonFormatter().format(record(exc_info=failed("why"))))
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("\nValueError: why")
    assert "traceback" not in json.loads(JsonFormatter().format(record()))


def test_what_json_cannot_hold_is_shown() -> None:
    line = json.loads(
        JsonFormatter().format(
            record(
                extra={
                    "what": {
                        1,
                    }
                }
            )
        )
    )
    assert line["what"] == "{1}"


def test_a_text_line_is_for_reading() -> None:
    made = record("port %d", 8080, extra={"listener": "main"}, level=logging.WARNING)
    assert TextFormatter().format(made) == "08:00:00 warning port 8080 listener=main"
    assert TextFormatter().format(record()) == "08:00:00 info listening"


def test_a_text_line_has_its_traceback_below() -> None:
    first, *rest = TextFormatter().format(record(exc_info=failed("why"))).split("\n")
    assert first == "08:00:00 info listening"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: why"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "terminal", "expected"),
    [
        ("json", True, True),
        ("json", False, True),
        ("text", True, False),
        ("text", False, False),
        ("auto", True, False),
        ("auto", False, True),
    ],
)
def test_auto_is_text_on_a_terminal(
    choice: str, terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    assert wants_json(choice) == expected


@contextmanager
def put_back() -> Iterator[None]:
    """Leave the logging of the process as it was."""
    root, ours = logging.getLogger(), logging.getLogger("gatelodge")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def test_our_loggers_speak_from_the_level_on_and_others_from_warnings_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with put_back():
        set_up("info", "json")
        logging.getLogger("gatelodge.gateway").debug("too quiet")
        logging.getLogger("gatelodge.gateway").info("heard", extra={"a": 1})
        logging.getLogger("asyncio").info("too quiet")
        logging.getLogger("asyncio").warning("heard too")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"], line.get("a")) for line in lines] == [
        ("info", "heard", 1),
        ("warning", "heard too", None),
    ]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels_are_those_of_the_configuration(
    level: str, heard: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with put_back():
        set_up(level, "text")
        for name in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger("gatelodge"), name)("x")
    assert [line.split(" ")[1] for line in capsys.readouterr().err.splitlines()] == heard


def test_setting_up_twice_says_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with put_back():
        set_up("info", "text")
        set_up("info", "text")
        logging.getLogger("gatelodge").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_worker_keeps_its_number_when_the_level_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with put_back():
        set_up("info", "json", worker=2)
        set_up("debug", "json")
        logging.getLogger("gatelodge").debug("heard")
    assert json.loads(capsys.readouterr().err)["worker"] == 2
