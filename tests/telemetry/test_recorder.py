from __future__ import annotations

import os
from typing import Any

from proxy.telemetry.access import AccessLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recorder import Recorder
from tests.support.exchanges import exchange, head


def seconds_only(_: Any, seconds: float) -> bytes:
    return b"%.3f\n" % seconds


def test_an_exchange_is_counted_from_its_beginning_to_its_end() -> None:
    metrics = Metrics()
    recorder = Recorder(metrics, None)
    recorder.begin()
    recorder.begin()
    assert metrics.in_flight == 2
    recorder.end(exchange(head(), status=200), 100.25)
    assert metrics.in_flight == 1
    assert metrics.requests == {("-", "GET", 200): 1}
    assert metrics.request_seconds["-"].total == 0.25


def test_the_log_gets_the_same_duration() -> None:
    reader, writer = os.pipe()
    try:
        log = AccessLog(writer, seconds_only)
        recorder = Recorder(Metrics(), log)
        recorder.begin()
        recorder.end(exchange(head(), status=200), 100.25)
        log.flush()
        assert os.read(reader, 100) == b"0.250\n"
    finally:
        os.close(reader)
        os.close(writer)
