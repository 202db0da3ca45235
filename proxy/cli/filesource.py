"""A configuration file as what a gateway reads again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli import configfile

if TYPE_CHECKING:
    from proxy.config.model import Config


class FileSource:
    """A configuration file. Variables are those of the process, which do not change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return f"<FileSource {self._path}>"

    def read(self) -> Config:
        """Return the configuration in the file. Raises ConfigError."""
        loaded = configfile.load_file(self._path)
        self._named = loaded.named
        return loaded.config

    @property
    def files(self) -> Sequence[Path]:
        """The file, and those that it names."""
        return self._path, *self._named
