"""Real frameworks from npm. A machine without Node fails these tests, it does not skip them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NPM = HERE / "npm"

Mint = Callable[..., str]


def _run(command: list[str], given: str = "", folder: Path = NPM) -> str:
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _install(folder: Path) -> Path:
    """Install what a folder's lock file names, unless it is there; return the packages' folder."""
    for tool in ("node", "npm"):
        assert shutil.which(tool), f"{tool} is missing: these tests need Node 20 with npm"
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        _run(["npm", "ci", "--no-progress"], folder=folder)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def packages() -> Path:
    """Install the frameworks that mint tokens; return their folder."""
    return _install(NPM)


@pytest.fixture(scope="session")
def authjs_packages() -> Path:
    """Install what the app with Auth.js and its OpenID provider need; return their folder."""
    return _install(HERE / "authjs-app")


@pytest.fixture(scope="session")
def mint(packages: Path) -> Mint:
    """Mint a token with a framework's own code: `mint(framework, secret, cookie, claims)`."""
    assert packages.is_dir()

    def run(framework: str, secret: str, cookie: str, claims: Mapping[str, Any]) -> str:
        given = {"framework": framework, "secret": secret, "cookie": cookie, "claims": claims}
        return _run(["node", "mint.mjs"], json.dumps(given))

    return run
