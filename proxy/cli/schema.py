"""`gatelodge schema`: prints the JSON Schema of the configuration file."""

from __future__ import annotations

import argparse
import json
import sys

DESCRIPTION = (
    "Prints the JSON Schema of the configuration file. Saved as gatelodge.schema.json, it lets "
    "editors with a YAML language server complete and check a file that begins with: "
    "# yaml-language-server: $schema=./gatelodge.schema.json"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION


def run(_args: argparse.Namespace) -> int:
    """Print the schema."""
    from proxy.config.schema import json_schema

    json.dump(json_schema(), sys.stdout, indent=2)
    print()
    return 0
