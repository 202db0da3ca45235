"""proxy/cli/filesource.py: a configuration file that is read again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.cli import configfile
from proxy.cli.filesource import FileSource
from proxy.config.problems import ConfigError
from proxy.worker.watch import marks_of
from tests.cli.example import CONFIG, SECRET


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gatelodge.yaml"
    made.write_text(CONFIG, encoding="utf-8")
    return made


def test_it_is_read_anew_each_time(file: Path) -> None:
    source = FileSource(file)
    before = source.read()
    file.write_text(CONFIG.replace("health_path: /healthz", "health_path: /up"), encoding="utf-8")
    assert (before.health_path, source.read().health_path) == ("/healthz", "/up")


def test_its_files_are_those_of_the_last_time_that_it_was_right(file: Path) -> None:
    secret = file.parent / "secret"
    secret.write_text(SECRET)
    named = CONFIG.replace(SECRET, "{file: secret}") + "watch: true\n"
    assert named != CONFIG
    source = FileSource(file)
    source.read()
    assert list(source.marks) == [file]
    file.write_text(named, encoding="utf-8")
    source.read()
    assert source.marks == marks_of([file, secret])
    file.write_text("routes: [", encoding="utf-8")
    with pytest.raises(ConfigError):
        source.read()
    assert source.marks == marks_of([file, secret])


def test_a_file_that_is_not_there_yet_is_one_of_its_files(file: Path) -> None:
    source = FileSource(file)
    source.read()
    secret = file.parent / "secret"
    file.write_text(CONFIG.replace(SECRET, "{file: secret}"), encoding="utf-8")
    with pytest.raises(ConfigError):
        source.read()
    assert source.marks == marks_of([file, secret])
    assert source.marks[secret] is None
    secret.write_text(SECRET)
    assert source.marks != marks_of([file, secret])
    source.read()
    assert source.marks == marks_of([file, secret])


def test_what_changes_while_it_is_read_is_different_from_its_mark(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = configfile.load_file

    def load_and_change(path: Path) -> Any:
        loaded = load(path)
        path.write_text(f"{CONFIG}\n", encoding="utf-8")
        return loaded

    monkeypatch.setattr(configfile, "load_file", load_and_change)
    source = FileSource(file)
    source.read()
    assert source.marks != marks_of([file])


def test_a_fault_that_shows_when_rules_are_compiled_has_its_line(file: Path) -> None:
    file.write_text(CONFIG + "\nsessions2: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gatelodge\.yaml:\d+:\d+: "):
        FileSource(file).read()
