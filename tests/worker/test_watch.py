"""proxy/worker/watch.py: which changes of files are noticed, and when."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxy.config.model import Config
from proxy.worker.source import Mark
from proxy.worker.watch import Watch, marks_of


class Files:
    """A source that has read its files when it was made; `reads` makes it read them again."""

    def __init__(self, *files: Path) -> None:
        self.files = list(files)
        self.marks: Mapping[Path, Mark] = {}
        self.read_all()

    def read_all(self) -> None:
        self.marks = marks_of(self.files)

    def read(self) -> Config:
        raise NotImplementedError


class Looks:
    """A watch over `files` that looks when the test says so; `calls` counts what it reported."""

    def __init__(self, *files: Path, reloads: bool = True) -> None:
        self.source = Files(*files)
        self.calls = 0
        self._reloads = reloads
        self._watch = Watch(self.source, lambda: True, self._count)

    def _count(self) -> None:
        self.calls += 1
        if self._reloads:
            self.source.read_all()

    def look(self) -> int:
        """Look once; return how often a change was reported by now."""
        self._watch.look(marks_of(tuple(self.source.marks)))
        return self.calls


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gatelodge.yaml"
    made.write_text("one")
    return made


def swap_link(file: Path) -> None:
    """Do as the kubelet does with a volume: the files are behind a link to a folder."""
    after = file.parent / "..2026_11_25"
    after.mkdir()
    (after / file.name).write_text("two")
    (file.parent / "..data_tmp").symlink_to(after)
    os.rename(file.parent / "..data_tmp", file.parent / "..data")


def rename_over(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_text("two")
    os.rename(other, file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda file: file.write_text("three"),
    "same-size": lambda file: os.utime(file, ns=(1, 1)),
    "renamed-over": rename_over,
    "removed": lambda file: file.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_reported_once(file: Path, change: Callable[[Path], object]) -> None:
    looks = Looks(file)
    change(file)
    assert [looks.look(), looks.look(), looks.look(), looks.look()] == [0, 1, 1, 1]


def test_the_link_of_a_volume_that_is_swapped_is_a_change(tmp_path: Path) -> None:
    before = tmp_path / "..2026_11_24"
    before.mkdir()
    (before / "gatelodge.yaml").write_text("one")
    (tmp_path / "..data").symlink_to(before)
    file = tmp_path / "gatelodge.yaml"
    file.symlink_to(Path("..data") / "gatelodge.yaml")
    looks = Looks(file)
    swap_link(file)
    assert [looks.look(), looks.look(), looks.look()] == [0, 1, 1]
    assert file.read_text() == "two"


def test_a_file_that_is_still_written_is_waited_for(file: Path) -> None:
    looks = Looks(file)
    for number in range(5):
        file.write_text("x" * (10 + number))
        assert looks.look() == 0
    assert [looks.look(), looks.look()] == [1, 1]


def test_what_goes_and_comes_back_as_it_was_is_no_change(file: Path) -> None:
    looks = Looks(file)
    away = file.with_suffix(".away")
    os.rename(file, away)
    looks.look()
    os.rename(away, file)
    assert [looks.look(), looks.look()] == [0, 0]


def test_what_was_told_is_a_change_again_once_something_else_was_read(file: Path) -> None:
    looks = Looks(file)
    old, new = file.with_suffix(".old"), file.with_suffix(".new")
    new.write_text("two")

    def swap() -> None:
        os.rename(file, old)
        os.rename(new, file)
        os.rename(old, new)

    swap()
    assert [looks.look(), looks.look()] == [0, 1]
    swap()
    looks.source.read_all()  # by HUP
    assert [looks.look(), looks.look()] == [1, 1]
    swap()
    assert [looks.look(), looks.look()] == [1, 2]


def test_a_change_before_the_first_look_is_one(file: Path) -> None:
    looks = Looks(file)
    file.write_text("three")
    assert [looks.look(), looks.look()] == [0, 1]


def test_a_change_that_is_not_read_is_told_once(file: Path) -> None:
    looks = Looks(file, reloads=False)
    file.write_text("three")
    assert [looks.look() for _ in range(5)] == [0, 1, 1, 1, 1]
    file.write_text("fifteen")
    assert [looks.look() for _ in range(4)] == [1, 2, 2, 2]


def test_a_file_that_is_named_later_is_watched_from_then_on(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    looks = Looks(file)
    looks.source.files.append(secret)
    looks.source.read_all()
    assert [looks.look(), looks.look()] == [0, 0]
    secret.write_text("other")
    assert [looks.look(), looks.look()] == [0, 1]


def test_a_file_that_is_not_there_is_nothing_and_a_name_that_cannot_be_too(tmp_path: Path) -> None:
    assert set(marks_of([tmp_path / "none", Path("a\0b")]).values()) == {None}


async def test_it_looks_by_itself_while_it_is_on(file: Path) -> None:
    changed, asked = asyncio.Event(), 0

    def is_on() -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            file.write_text("three")
        return asked > 3

    running = asyncio.ensure_future(Watch(Files(file), is_on, changed.set, interval=0.001).run())
    async with asyncio.timeout(30):
        await changed.wait()
    assert asked >= 5
    running.cancel()
