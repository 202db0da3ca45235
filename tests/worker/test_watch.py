"""proxy/worker/watch.py: which changes of files are noticed, and when."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.worker.watch import Watch, signature


class Looks:
    """A watch over `files` that looks when the test says so; `calls` counts what it reported."""

    def __init__(self, *files: Path) -> None:
        self.files = list(files)
        self.calls = 0
        self._watch = Watch(lambda: self.files, self._count)
        self.look(), self.look()

    def _count(self) -> None:
        self.calls += 1

    def look(self) -> int:
        """Look once; return how often a change was reported by now."""
        self._watch.look(dict(zip(self.files, signature(self.files), strict=True)))
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


def test_a_file_that_is_named_later_is_not_a_change_and_its_changes_are(
    file: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    looks = Looks(file)
    looks.files.append(secret)
    assert [looks.look(), looks.look()] == [0, 0]
    secret.write_text("other")
    assert [looks.look(), looks.look()] == [0, 1]


def test_a_file_that_is_not_there_is_nothing_and_a_name_that_cannot_be_too(tmp_path: Path) -> None:
    assert signature([tmp_path / "none", Path("a\0b")]) == (None, None)


async def test_it_looks_by_itself(file: Path) -> None:
    changed, looks = asyncio.Event(), 0

    def files() -> list[Path]:
        nonlocal looks
        looks += 1
        if looks == 2:
            file.write_text("three")
        return [file]

    running = asyncio.ensure_future(Watch(files, changed.set, interval=0.001).run())
    async with asyncio.timeout(30):
        await changed.wait()
    assert looks >= 3
    running.cancel()
