"""Many processes on one port: who starts them, keeps them alive and speaks for all of them."""

from __future__ import annotations

from proxy.supervisor.supervise import supervise

__all__ = ["supervise"]
