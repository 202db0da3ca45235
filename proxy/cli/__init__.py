"""The command line: what an operator types.

Law of the package: importing it, or a command's module, imports nothing heavy. A command brings in
what it needs when it runs, so that `healthcheck`, which containers run every few seconds, costs a
bare interpreter.
"""

from proxy.cli.commands import main

__all__ = ["main"]
