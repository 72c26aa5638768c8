"""Files that take their names when they are complete."""

from __future__ import annotations

import errno
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
    assert synced == [(".map.tif.part", False), (tmp_path.name, True)]


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
