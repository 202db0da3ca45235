"""A configuration file as what a gateway reads again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.cli import configfile

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.worker.source import Mark

_MORE_READS: Final = 2


class FileSource:
    """A configuration file. Variables are those of the process, which do not change."""

    def __init__(self, path: Path) -> None:
        self._files: tuple[Path, ...] = (path,)
        self.marks: Mapping[Path, Mark] = {}
        """The file and those that it names, and what they were just before they were read."""

    def __repr__(self) -> str:
        return f"<FileSource {self._files[0]}>"

    def read(self) -> Config:
        """Return the configuration in the file. Raises ConfigError."""
        config = self._read()
        # A file that is named for the first time has to be looked at before it is read.
        for _ in range(_MORE_READS):
            if not config.watch or self.marks.keys() >= set(self._files):
                break
            config = self._read()
        return config

    def _read(self) -> Config:
        from proxy.worker.watch import marks_of  # it brings the whole gateway with it

        # Before: what changes while it is read is different from this afterwards.
        self.marks = marks_of(self._files)
        loaded = configfile.load_file(self._files[0])
        self._files = (self._files[0], *loaded.named)
        return loaded.config
