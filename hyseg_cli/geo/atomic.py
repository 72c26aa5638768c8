"""Files that are there in full or not at all: written under another name, synced, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
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
    _remove_abandoned(target.parent.absolute())
    temporary = _beside(target)
    try:
        yield temporary
        move(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the file system of a target for what becomes it; it goes when the body ends.

    Raises:
        OSError: If the system refuses.
    """
    _remove_abandoned(target.parent.absolute())
    folder = _beside(target)
    shutil.rmtree(folder, ignore_errors=True)  # of a killed process that had the same number
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    # Each process has a name of its own: of two runs with one output each writes a whole file.
    return target.with_name(f".{target.name}.{_machine()}-{os.getpid()}.part")


@cache
def _remove_abandoned(folder: Path) -> None:
    """Delete what processes of this machine were writing when they were killed.

    Once for each folder: it may hold a hundred thousand files.
    """
    if os.name == "nt":  # asking for a process there may end it
        return
    name = re.compile(rf"\..+\.{_machine()}-(\d+)\.part")
    with suppress(OSError):
        for path in folder.iterdir():
            found = name.fullmatch(path.name)
            if found is None or _is_alive(int(found[1])):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _machine() -> str:
    """A few letters for this machine: a folder may be shared by several."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
