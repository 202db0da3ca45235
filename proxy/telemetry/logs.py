"""The process's own log: what happened to the gateway itself, one line each, on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """A line of JSON: time, level, event, what `extra` held, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A line for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, its traceback below it."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        line = f"{time} {record.levelname.lower()} {record.getMessage()}{extras}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def wants_json(choice: str) -> bool:
    """Whether `log.format` means JSON; `auto` is text on a terminal."""
    return choice == "json" or (choice == "auto" and not sys.stderr.isatty())


class _Numbered(logging.Filter):
    """Says in every line which worker wrote it."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def set_up(level: str, choice: str, *, worker: int | None = None) -> None:
    """Send the loggers of the gateway, and warnings of everybody else, to standard error.

    `worker` is the number of this process, where there are several; once told, it stays.
    """
    root = logging.getLogger()
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if wants_json(choice) else TextFormatter())
    told = [each for before in root.handlers for each in before.filters]
    numbered = [each for each in told if isinstance(each, _Numbered)]
    for each in numbered if worker is None else [_Numbered(worker)]:
        handler.addFilter(each)
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gatelodge").setLevel(level.upper())
