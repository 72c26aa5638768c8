"""Where the complete files of a work folder are kept: in the folder itself, or in object storage.

A run whose outputs go to object storage has a folder on this machine all the same, for its locks
and for what is not complete; what others are to find lies in storage.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hyseg_cli.geo.atomic import move
from hyseg_cli.geo.raster import object_storage

AT_ONCE = 8
"""Objects that are fetched at the same time."""


class Shelf(Protocol):
    """Keeps files by name; whatever is there is complete."""

    place: str
    """Where it is, for people."""

    def names(self) -> frozenset[str]:
        """What is there."""

    def read_text(self, name: str) -> str | None:
        """Content of a file, None if there is none."""

    def keep(self, file: Path, name: str) -> None:
        """Take over a file of the folder, which is complete."""

    def create(self, file: Path, name: str) -> bool:
        """The same unless there is one of that name already; returns whether there was none."""

    def bring(self, names: Iterable[str]) -> None:
        """Have files in the folder itself."""

    def remove(self, names: Iterable[str]) -> None:
        """Throw files away, the last name last."""


class FolderShelf:
    """The folder itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)

    def names(self) -> frozenset[str]:
        """What is there, locks and what is not complete among it."""
        try:
            return frozenset(entry.name for entry in self._folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()

    def read_text(self, name: str) -> str | None:
        """Content of a file, None if there is none."""
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keep(self, file: Path, name: str) -> None:
        """Give a file its name."""
        move(file, self._folder / name)

    def create(self, file: Path, name: str) -> bool:
        """Give a file its name; who calls holds the lock, so nobody else does."""
        self.keep(file, name)
        return True

    def bring(self, names: Iterable[str]) -> None:
        """They are here."""

    def remove(self, names: Iterable[str]) -> None:
        """Throw files away, the last name last."""
        for name in names:
            with suppress(OSError):
                (self._folder / name).unlink()


class ObjectShelf:
    """Objects whose names begin with that of the folder.

    Args:
        folder: The folder on this machine.
        prefix: What the names in storage begin with; ends in a slash.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self.place = prefix

    def names(self) -> frozenset[str]:
        """What is there."""
        return object_storage.names_under(self.place)

    def read_text(self, name: str) -> str | None:
        """Content of an object, None if there is none."""
        return object_storage.read_text(self.place + name)

    def keep(self, file: Path, name: str) -> None:
        """Upload a file; the one on this machine goes."""
        object_storage.upload(file, self.place + name)
        file.unlink()

    def create(self, file: Path, name: str) -> bool:
        """Upload a text unless one is there; locks do not keep other machines off."""
        return object_storage.create_text(self.place + name, file.read_text(encoding="utf-8"))

    def bring(self, names: Iterable[str]) -> None:
        """Download what is not in the folder."""
        missing = [name for name in names if not (self._folder / name).exists()]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self._fetch, missing))

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, the last name last."""
        ordered = [self.place + name for name in names]
        object_storage.remove(ordered[:-1])
        object_storage.remove(ordered[-1:])

    def _fetch(self, name: str) -> None:
        object_storage.download(self.place + name, self._folder / name)
