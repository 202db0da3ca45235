"""proxy/cli/filesource.py: a configuration file that is read again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli.filesource import FileSource
from proxy.config.problems import ConfigError
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
    source = FileSource(file)
    assert list(source.files) == [file]
    (file.parent / "secret").write_text(SECRET)
    text = CONFIG.replace(SECRET, "{file: secret}")
    assert text != CONFIG
    file.write_text(text, encoding="utf-8")
    source.read()
    assert list(source.files) == [file, file.parent / "secret"]
    file.write_text("routes: [", encoding="utf-8")
    with pytest.raises(ConfigError):
        source.read()
    assert list(source.files) == [file, file.parent / "secret"]


def test_a_fault_that_shows_when_rules_are_compiled_has_its_line(file: Path) -> None:
    file.write_text(CONFIG + "\nsessions2: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gatelodge\.yaml:\d+:\d+: "):
        FileSource(file).read()
