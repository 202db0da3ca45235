"""tests/support/ports.py: a port stays free."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port


def test_it_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="where the range of clients is not known")
def test_no_client_gets_it() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= free_port() <= last for _ in range(100))
