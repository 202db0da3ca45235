"""`gatelodge schema` prints JSON that is the schema."""

from __future__ import annotations

import argparse
import json

import pytest

from proxy.cli import schema
from proxy.config.schema import json_schema


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    schema.configure(parser)
    assert schema.run(parser.parse_args([])) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
