"""Temporary folders are private, and those that a crash has left are swept away; no others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.demo import folder
from proxy.demo.folder import PREFIX, Folder, make_folder, sweep


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in these tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def made() -> Iterator[Folder]:
    yield (one := make_folder(Path.is_dir))
    one.remove()


def age(path: Path) -> Path:
    """Make it look like one of an hour ago."""
    then = time.time() - 3600
    os.utime(path, (then, then))
    return path


def left_behind(place: Path, name: str = "left") -> Path:
    """What a crash leaves: a folder with a lock that nobody holds."""
    path = place / f"{PREFIX}{name}"
    path.mkdir()
    (path / "lock").touch()
    (path / "data").mkdir()
    (path / "data" / "file").touch()
    return age(path)


def test_only_its_owner_can_look_into_it(made: Folder, place: Path) -> None:
    assert made.path.parent == place
    assert made.path.stat().st_mode & 0o777 == 0o700


def test_it_goes_when_it_is_removed(place: Path) -> None:
    one = make_folder(Path.is_dir)
    (one.path / "file").touch()
    one.remove()
    assert list(place.iterdir()) == []


def test_that_it_is_gone_already_is_no_error(place: Path) -> None:
    one = make_folder(Path.is_dir)
    (one.path / "lock").unlink()
    one.path.rmdir()
    one.remove()
    assert list(place.iterdir()) == []


def test_what_a_crash_left_is_removed_by_the_next(place: Path) -> None:
    left = left_behind(place)
    one = make_folder(Path.is_dir)
    assert not left.exists()
    one.remove()


def test_one_in_use_stays(made: Folder, place: Path) -> None:
    age(made.path)
    sweep(place)
    assert made.path.is_dir()


def test_one_in_use_by_a_process_that_inherited_it_stays(place: Path) -> None:
    """The keeper outlives the demo for a moment."""
    one = make_folder(Path.is_dir)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(one.lock,)) as heir:
        os.close(one.lock)
        age(one.path)
        sweep(place)
        assert one.path.is_dir()
        heir.communicate()
    sweep(place)
    assert not one.path.exists()


def test_one_that_is_only_just_made_stays(place: Path) -> None:
    """Between its making and its lock it would look like one that was left."""
    young = left_behind(place)
    os.utime(young)
    sweep(place)
    assert young.is_dir()


def test_what_is_not_ours_stays(place: Path) -> None:
    other = place / "elsewhere"
    other.mkdir()
    (other / "lock").touch()
    link = place / f"{PREFIX}link"
    link.symlink_to(other)
    without_lock = place / f"{PREFIX}without-lock"
    without_lock.mkdir()
    age(without_lock)
    linked_lock = left_behind(place, "linked-lock")
    (linked_lock / "lock").unlink()
    (linked_lock / "lock").symlink_to(other / "lock")
    age(linked_lock)
    sweep(place)
    assert {path.name for path in place.iterdir()} == {
        other.name,
        link.name,
        without_lock.name,
        linked_lock.name,
    }


def test_another_place_is_taken_where_the_usual_will_not_do(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = place / "good"
    good.mkdir()
    monkeypatch.setattr(folder, "_OTHER_PLACES", (place / "missing", good))
    one = make_folder(lambda path: path != place)
    assert one.path.parent == good
    one.remove()


def test_without_a_good_place_it_is_the_usual_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_OTHER_PLACES", ())
    one = make_folder(lambda _: False)
    assert one.path.parent == place
    one.remove()


def test_the_lock_is_not_inherited_by_chance(made: Folder) -> None:
    assert not os.get_inheritable(made.lock)
    with closing(os.fdopen(os.dup(made.lock))) as copy:
        assert not os.get_inheritable(copy.fileno())
