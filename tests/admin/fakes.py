"""A process for the admin listener to look at."""

from __future__ import annotations

from typing import Any

from proxy.config.model import Config

SECRET = "an-app-secret-that-must-not-be-shown"
TOKEN = "admin-token-that-must-not-be-shown"


def config(**changes: Any) -> Config:
    """Return a small configuration with `changes` at its top level."""
    values = {
        "sessions": {"web": {"kind": "authjs", "secret": SECRET}},
        "upstreams": {"api": {"endpoints": ["http://127.0.0.1:8000"]}},
        "routes": [{"path": "/**", "upstream": "api"}],
    }
    return Config.model_validate(values | changes)


class FakeState:
    """Answers what it was told to, and counts how often the metrics were rendered."""

    def __init__(self, **changes: Any) -> None:
        self.config = config(**changes)
        self.version = "1.2.3"
        self.reason = ""
        self.rendered = 0
        self.reloads = 0
        self.gathered = 0
        self.problems: tuple[str, ...] = ()

    def ready(self) -> tuple[bool, str]:
        return not self.reason, self.reason or "ready"

    async def reload(self) -> tuple[int, tuple[str, ...]]:
        self.reloads += 1
        return 2 if self.problems == () else 1, self.problems

    async def depart(self) -> None:
        self.reason = "draining"

    async def gather(self) -> None:
        self.gathered += 1

    def metrics_text(self) -> tuple[bytes, str]:
        self.rendered += 1
        return b"gatelodge_up 1\n", "text/plain; version=1.0.0; charset=utf-8"

    def status(self) -> dict[str, object]:
        return {"version": self.version, "uptime": 1.5, "upstreams": {"api": [{"open": 0}]}}
