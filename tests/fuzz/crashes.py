"""Where inputs lie that have found something, and what they are called: as libFuzzer has it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Final

FOUND: Final = 77
"""Exit code when something was found."""


def folder_of(folder: Path, name: str) -> Path:
    """Return the folder of what target `name` has found."""
    return folder / "crashes" / name


def keep(folder: Path, name: str, data: bytes) -> Path:
    """Write an input down, and say where."""
    file = folder_of(folder, name) / f"crash-{hashlib.sha256(data).hexdigest()[:40]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    print(f"Test unit written to {file}", file=sys.stderr)
    return file
