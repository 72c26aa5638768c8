"""Files that take their names when they are complete."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from hyseg_cli.geo import atomic


def test_a_file_takes_its_name_with_its_last_byte(tmp_path):
    target = tmp_path / "map.tif"
    target.write_text("old")
    with atomic.replacing(target) as path:
        path.write_text("half")
        assert target.read_text() == "old"
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    target = tmp_path / "map.tif"
    target.write_text("old")

    def write():
        with atomic.replacing(target) as path:
            path.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    target, synced = tmp_path / "map.tif", []
    monkeypatch.setattr(atomic, "sync", lambda path: synced.append((path.name, target.exists())))
    with atomic.replacing(target) as path:
        path.write_text("whole")
    assert [exists for _, exists in synced] == [False, True]
    assert [name.endswith(".part") for name, _ in synced] == [True, False]
    assert synced[0][0].startswith(".map.tif.")


def test_a_file_of_another_file_system_is_copied_under_its_name(tmp_path, monkeypatch):
    file, target = tmp_path / "made.tif", tmp_path / "map.tif"
    file.write_text("whole")
    rename = Path.replace

    def across(self, other):
        if self == file:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, other)

    monkeypatch.setattr(Path, "replace", across)
    atomic.move(file, target)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_of_two_processes_with_one_target_each_writes_a_whole_file(tmp_path, monkeypatch):
    target = tmp_path / "map.tif"
    with atomic.replacing(target) as mine:
        mine.write_text("mi")
        monkeypatch.setattr(os, "getpid", lambda: 1)  # a process that lives
        with atomic.replacing(target) as other:
            other.write_text("other")
        monkeypatch.undo()
        assert target.read_text() == "other"
        mine.write_text("mine")
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_was_writing_goes_with_the_next_run(tmp_path):
    target = tmp_path / "map.tif"
    child = os.fork()
    if child == 0:
        with atomic.replacing(target) as path:
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    for kept in (".map.tif.part", ".map.tif.other1-99.part", ".another.tif.part"):
        (tmp_path / kept).write_text("of somebody else")
    atomic._remove_abandoned.cache_clear()  # it is another process that goes on
    with atomic.replacing(target) as path:
        path.write_text("whole")
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted(
        [".map.tif.part", ".map.tif.other1-99.part", ".another.tif.part", "map.tif"]
    )


def test_the_folder_of_a_killed_process_goes_too(tmp_path):
    target = tmp_path / "model.safetensors"
    child = os.fork()
    if child == 0:
        with atomic.folder_beside(target) as folder:
            (folder / "fetched").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    atomic._remove_abandoned.cache_clear()
    with atomic.folder_beside(target) as folder:
        assert list(tmp_path.iterdir()) == [folder]
        (folder / "whole").write_text("whole")
        atomic.move(folder / "whole", target)
    assert list(tmp_path.iterdir()) == [target]
