"""Which configuration file a command means, and its loading."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.cli.output import UsageError

if TYPE_CHECKING:
    from proxy.config.load import Loaded

VARIABLE: Final = "GATELODGE_CONFIG"
DEFAULT: Final = "gatelodge.yaml"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `-c`."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help=f"configuration file (default: ${VARIABLE}, else ./{DEFAULT})",
    )


def find(given: str | None) -> Path | None:
    """Return the file that is meant: `given`, else the variable's, else the default one if it is
    there.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return Path(named)
    default = Path(DEFAULT)
    return default if default.is_file() else None


def load(args: argparse.Namespace) -> Loaded:
    """Load the file that `args` means. Raises UsageError when there is none, ConfigError when it
    is wrong.
    """
    path = find(args.config)
    if path is None:
        raise UsageError(f"there is no ./{DEFAULT}; name a file with -c FILE or {VARIABLE}")
    return load_file(path)


def load_file(path: Path) -> Loaded:
    """Load a file with the process's variables. Raises ConfigError when it is wrong."""
    from proxy.config.load import load as load_text
    from proxy.config.problems import ConfigError
    from proxy.core.rules import RuleError, compile_rules

    loaded = load_text(path, os.environ)
    try:
        # Keys and patterns show some faults only when they are used; here they still have a line.
        compile_rules(loaded.config)
    except RuleError as error:
        problem = loaded.document.problem(error.loc, error.message)
        raise ConfigError([problem], loaded.named) from error
    return loaded
