"""Where the configuration comes from, for one who reads it again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.config.model import Config


class ConfigSource(Protocol):
    """A file, or flags and variables."""

    def read(self) -> Config:
        """Return the configuration as it is now. It reads files, so call it in a thread.

        Raises ConfigError with every problem.
        """

    @property
    def files(self) -> Sequence[Path]:
        """The files that decide what `read` returns: those of the last time that it could, and the
        first one always.
        """


class FixedSource:
    """A configuration that no file holds, and that is the same at every read."""

    files: Sequence[Path] = ()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __repr__(self) -> str:
        return "<FixedSource>"

    def read(self) -> Config:
        """Return the configuration."""
        return self._config
