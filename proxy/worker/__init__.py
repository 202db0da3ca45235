"""One process: its loop, its listeners, how it starts and how it ends."""

from __future__ import annotations

from proxy.worker.process import Worker
from proxy.worker.serve import serve
from proxy.worker.source import ConfigSource, FixedSource

__all__ = ["ConfigSource", "FixedSource", "Worker", "serve"]
