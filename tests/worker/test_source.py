"""proxy/worker/source.py: what a configuration without a file is."""

from __future__ import annotations

from proxy.worker.source import FixedSource
from tests.support.worker import SECRET, LocalGateway, settings


def test_a_configuration_without_a_file_is_the_same_at_every_read() -> None:
    config = LocalGateway(settings("http://127.0.0.1:1")).config
    source = FixedSource(config)
    assert source.read() is source.read() is config
    assert source.marks == {}
    assert SECRET not in repr(source)
