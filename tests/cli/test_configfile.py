"""Which file is meant."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from proxy.cli import configfile
from proxy.cli.output import UsageError
from proxy.config.problems import ConfigError
from tests.cli.conftest import Gatelodge
from tests.cli.example import CONFIG


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configfile.add_option(parser)
    return parser.parse_args(words)


@pytest.mark.usefixtures("gatelodge")
def test_the_option_wins_over_the_variable_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert configfile.find(None) is None
    (tmp_path / "gatelodge.yaml").touch()
    assert configfile.find(None) == Path("gatelodge.yaml")
    monkeypatch.setenv("GATELODGE_CONFIG", "by-variable.yaml")
    assert configfile.find(None) == Path("by-variable.yaml")
    assert configfile.find("by-option.yaml") == Path("by-option.yaml")


@pytest.mark.usefixtures("gatelodge")
def test_no_file_is_a_usage_error_that_says_how_to_name_one() -> None:
    with pytest.raises(UsageError, match=r"gatelodge\.yaml.*-c FILE or GATELODGE_CONFIG"):
        configfile.load(given())


@pytest.mark.usefixtures("gatelodge")
def test_a_named_file_that_is_not_there_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        configfile.load(given("--config", "nowhere.yaml"))


@pytest.mark.usefixtures("gatelodge")
def test_variables_in_the_file_are_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG.replace("/healthz", "${HEALTH}"), encoding="utf-8")
    monkeypatch.setenv("HEALTH", "/alive")
    assert configfile.load(given("-c", "x.yaml")).config.health_path == "/alive"


def test_commands_report_a_bad_file_and_exit_1(gatelodge: Gatelodge, tmp_path: Path) -> None:
    (tmp_path / "gatelodge.yaml").write_text("rotues: []\n", encoding="utf-8")
    for command in (["routes"], ["explain", "GET", "/"], ["run"], ["check"]):
        said = gatelodge(*command)
        assert (said.code, said.out) == (1, ""), command
        assert "gatelodge.yaml:1:1: unknown key 'rotues'" in said.err
