"""A configuration file as what a gateway reads again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.cli import configfile
from proxy.config.problems import ConfigError

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
        # A file that is named for the first time has to be looked at before it is read.
        for _ in range(_MORE_READS):
            try:
                config = self._read()
            except ConfigError:
                if self._has_looked:
                    raise
            else:
                if not config.watch or self._has_looked:
                    return config
        return self._read()

    @property
    def _has_looked(self) -> bool:
        return self.marks.keys() >= set(self._files)

    def _read(self) -> Config:
        from proxy.worker.watch import marks_of  # it brings the whole gateway with it

        # Before: what changes while it is read is different from this afterwards.
        self.marks = marks_of(self._files)
        try:
            loaded = configfile.load_file(self._files[0])
        except ConfigError as error:
            # A file that was not there may be all that is wrong: Kubernetes swaps a ConfigMap and
            # the Secret that it names one after the other.
            self._files = tuple(dict.fromkeys([*self._files, *error.named]))
            raise
        self._files = (self._files[0], *loaded.named)
        return loaded.config
