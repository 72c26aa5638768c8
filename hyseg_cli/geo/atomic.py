"""Files that are there in full or not at all: written under another name, synced, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Write a file that takes its name, and the place of what has that name, when it is complete.

    Yields:
        The path to write to, beside the target. If the body fails, what was written there goes and
        the target stays as it was.

    Raises:
        OSError: If the system refuses; the caller knows what to call the file.
    """
    temporary = _beside(target)
    try:
        yield temporary
        move(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def move(file: Path, target: Path) -> None:
    """Give a complete file its name; from another file system it is copied there.

    Raises:
        OSError: If the system refuses.
    """
    sync(file)
    try:
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = _beside(target)
        try:
            shutil.copyfile(file, copy)
            sync(copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
        file.unlink()
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(target: Path) -> Path:
    # Always the same name: a run that is killed leaves one file at most, and the next one takes it.
    return target.with_name(f".{target.name}.part")
