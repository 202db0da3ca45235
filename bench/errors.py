"""The one way a benchmark fails."""

from __future__ import annotations


class BenchError(Exception):
    """The numbers would not mean what the table says; the message is for the one who runs it."""
