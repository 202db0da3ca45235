"""The commands, and the way from words to one of them.

Exit codes: 0 ok, 1 failure (a configuration that is wrong included), 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from proxy.cli.output import UsageError, complain
from proxy.config.problems import ConfigError, did_you_mean

# Each is a module of this package with `configure(parser)` and `run(args) -> exit code`.
COMMANDS: Final = {
    "run": "run the gateway",
    "check": "find everything that is wrong with a configuration, and run its tests",
    "routes": "the routing table, in the order in which it is tried",
    "explain": "what would happen to a request, step by step",
    "demo": "the whole thing on this machine, to try it",
    "token": "make a session cookie for development, or say what one is",
    "schema": "JSON Schema of the configuration, for editors",
    "healthcheck": "ask a running gateway whether it lives; for containers",
    "drain": "send the clients of a running gateway elsewhere, before it is ended",
    "version": "versions of Gatelodge and of what it stands on",
}
_HELP: Final = frozenset({"-h", "--help", "help"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's) names; return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except SystemExit as end:
        # argparse ends the process by itself: 0 after --help, 2 after a usage error.
        return end.code if isinstance(end.code, int) else 0
    except UsageError as error:
        complain(words[0], str(error))
        return 2
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it
    except BrokenPipeError:
        # The reader has gone (`gatelodge routes | head`); the interpreter must not complain at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _dispatch(words: Sequence[str]) -> int:
    if not words:
        print(usage(), file=sys.stderr)
        return 2
    name = "version" if words[0] == "--version" else words[0]
    if name in _HELP and words[1:] and words[1] not in _HELP:
        return _dispatch([words[1], "--help"])
    if name in _HELP:
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"gatelodge: no command '{name}'{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        print(usage(), file=sys.stderr)
        return 2
    module = import_module(f"proxy.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"gatelodge {name}", description=COMMANDS[name])
    module.configure(parser)
    code: int = module.run(parser.parse_args(words[1:]))
    return code


def usage() -> str:
    """Return the list of commands."""
    listed = [f"  {name:<13}{about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gatelodge COMMAND [options]",
            "",
            *listed,
            "",
            "gatelodge COMMAND --help tells the options of a command.",
        ]
    )
