"""The work folder of an unfinished output: its settings and its finished parts.

It lies beside the output and outlives a run that is stopped or killed. Whatever is in it under
its final name is complete: files are written under another name, synced and renamed.

It passes through three states. A manifest says what is computed. `finishing` lists the outputs that
are about to get their names; from then on they belong to the run. `finished` says that all of them
have their names; the rest of the folder can be deleted.

A run that nobody goes on with, such as that of a mosaic or of polygons, borrows the folder as
scratch: under the same lock, without a manifest, and only if no unfinished run needs it.

Complete files are kept in a store: the folder itself, or object storage if the outputs go there.
Such a run still has a folder on this machine, for its locks and for incomplete files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from rasterio._err import CPLE_BaseError  # closing a file raises it bare
from rasterio.errors import RasterioError

from hyseg_cli.errors import HysegError, StateMismatchError
from hyseg_cli.geo.atomic import move
from hyseg_cli.geo.raster import object_storage

AT_ONCE = 8
"""Objects that are downloaded at the same time."""


class Store(Protocol):
    """Stores files by name; every stored file is complete."""

    location: str
    """Where the store is, for messages."""

    def names(self) -> frozenset[str]:
        """What is there."""

    def read_text(self, name: str) -> str | None:
        """Content of a file, None if there is none."""

    def put(self, file: Path, name: str) -> None:
        """Move a complete file of the folder into the store."""

    def create(self, file: Path, name: str) -> bool:
        """Like `put`, but only if the name is free; return whether it was."""

    def fetch(self, names: Iterable[str]) -> None:
        """Copy files into the folder itself."""

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, in this order."""


class FolderStore:
    """The folder itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.location = str(folder)

    def names(self) -> frozenset[str]:
        """The names of all files, including locks and incomplete files."""
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

    def put(self, file: Path, name: str) -> None:
        """Give a file its name."""
        move(file, self._folder / name)

    def create(self, file: Path, name: str) -> bool:
        """Give a file its name; the caller holds the lock, so no other run can."""
        self.put(file, name)
        return True

    def fetch(self, names: Iterable[str]) -> None:
        """Do nothing: the files are in the folder already."""

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, in this order."""
        for name in names:
            with suppress(OSError):
                (self._folder / name).unlink()


class ObjectStore:
    """Objects in storage with a common prefix.

    Args:
        folder: The folder on this machine.
        prefix: Prefix of the names in storage; ends with a slash.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self.location = prefix

    def names(self) -> frozenset[str]:
        """What is there."""
        return object_storage.names_under(self.location)

    def read_text(self, name: str) -> str | None:
        """Content of an object, None if there is none."""
        return object_storage.read_text(self.location + name)

    def put(self, file: Path, name: str) -> None:
        """Upload a file and delete it on this machine."""
        object_storage.upload(file, self.location + name)
        file.unlink()

    def create(self, file: Path, name: str) -> bool:
        """Upload a text if the name is free, because locks do not stop other machines."""
        return object_storage.create_text(self.location + name, file.read_text(encoding="utf-8"))

    def fetch(self, names: Iterable[str]) -> None:
        """Download the files that are not in the folder."""
        missing = [name for name in names if not (self._folder / name).exists()]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self._download, missing))

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects, the last one after all others."""
        ordered = [self.location + name for name in names]
        object_storage.remove(ordered[:-1])
        object_storage.remove(ordered[-1:])

    def _download(self, name: str) -> None:
        object_storage.download(self.location + name, self._folder / name)


SUFFIX = ".hyseg"
MANIFEST = "manifest.json"
LOCK = "run.lock"
SETTLE_LOCK = "settle.lock"
FINISHING = "finishing.json"
FINISHED = "finished"
PATIENCE_SECONDS = 10.0
"""How long a part waits for others that start at the same time."""
WRITE_ERRORS = (OSError, RasterioError, CPLE_BaseError)
"""What a full disk or a missing permission may raise while a raster is written."""


class WorkFolder:
    """The folder `OUT.hyseg` beside an output; mutable, as files in it come and go.

    Args:
        out: The output.
        mark: The result of `settle`, for workers that continue what another process has settled.
        remote: Name that the output gets in object storage; None if it stays here.
    """

    def __init__(self, out: Path, mark: str = "", remote: str | None = None) -> None:
        self.out = out
        self.path = out.with_name(out.name + SUFFIX)
        self._store: Store = FolderStore(self.path)
        self._is_staged = remote is not None
        if remote is not None:
            self._store = ObjectStore(self.path, f"{remote}{SUFFIX}/")
        self.mark = mark
        """Identifies the settings and ends the names of shards, so that a late shard of a lost
        worker is never mistaken for a part of another run."""

    @property
    def location(self) -> str:
        """Where finished work is kept, for messages."""
        return self._store.location

    @property
    def own_outputs(self) -> frozenset[str]:
        """Absolute paths of the outputs that a stopped run was about to name."""
        text = None if self.is_finished else self._store.read_text(FINISHING)
        return frozenset() if text is None else frozenset(json.loads(text))

    @property
    def is_finished(self) -> bool:
        """Whether all outputs have their names, so that the folder is no longer needed."""
        return self.is_empty or FINISHED in self._store.names()

    @property
    def is_empty(self) -> bool:
        """Whether the folder exists but is empty: just created, or nearly removed."""
        return self.path.is_dir() and not any(self.path.iterdir()) and not self._store.names()

    @property
    def has_shards(self) -> bool:
        """Whether anything was computed, with any settings."""
        return any(name.endswith(".tif") for name in self._store.names())

    def names(self) -> frozenset[str]:
        """The files that are complete."""
        return self._store.names()

    def fetch(self, names: Iterable[str]) -> None:
        """Copy complete files into the folder itself, to read them.

        Raises:
            HysegError: If they cannot be downloaded.
        """
        self._store.fetch(names)

    def start_finishing(self, outputs: Iterable[Path]) -> None:
        """Record that these outputs, if they exist from now on, belong to this run."""
        with self.writing(FINISHING) as path:
            path.write_text(json.dumps([str(out.absolute()) for out in outputs]), encoding="utf-8")

    def finish(self) -> None:
        """Remove the folder, because all outputs have their names; the caller holds its lock."""
        with self.writing(FINISHED) as path:
            path.write_text("", encoding="utf-8")
        self.remove()

    @contextmanager
    def locked(self, part: str | None = None) -> Iterator[None]:
        """Keep other runs off the output.

        Runs of different parts may work at the same time; other runs may not. The system frees the
        locks of a process that dies. An empty folder is removed in the end.

        Args:
            part: Name of the part of the work, None for all of it.

        Raises:
            StateMismatchError: If another run is at work.
        """
        self._create()
        try:
            with ExitStack() as stack:
                whole = self._lock(LOCK, stack, patience=0.0 if part is None else PATIENCE_SECONDS)
                if part is None:
                    for other in sorted(self.path.glob("part-*.lock")):
                        self._lock(other.name, stack)
                else:
                    self._lock(f"part-{part}.lock", stack)
                    whole.release()
                yield
        finally:
            with suppress(OSError):  # it is not empty, or gone already
                self.path.rmdir()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Use the folder for files that no later run goes on with; they go in the end.

        Yields:
            The folder, which is empty but for its lock.

        Raises:
            StateMismatchError: If another run is at work, or left computed parts to go on with.
            HysegError: If the folder cannot be made.
        """
        with self.locked():
            self.require_unneeded()
            try:
                self._clear_here()
                yield self.path
            finally:
                self._clear_here()
                self.remove()

    def require_unneeded(self) -> None:
        """Refuse to take a folder whose parts an unfinished run would go on with.

        Raises:
            StateMismatchError: If it holds such parts.
        """
        if self.is_finished or not self.has_shards or self._store.read_text(MANIFEST) is None:
            return
        raise StateMismatchError(
            f"{self.location} holds the unfinished work of another run that writes {self.out.name}",
            hint="Finish that run, delete the folder, or choose another name for the output.",
        )

    def settle(self, settled: dict[str, Any], *, resume: bool) -> bool:
        """Agree on the settings of the work in this folder.

        Args:
            settled: Everything that the result depends on, as JSON can hold it.
            resume: Continue work with the same settings; otherwise it is deleted.

        Returns:
            Whether there is earlier work to continue.

        Raises:
            StateMismatchError: If the folder holds work with other settings.
        """
        with ExitStack() as stack:
            # If several parts start together, one writes the manifest and the others find it.
            self._lock(SETTLE_LOCK, stack, patience=PATIENCE_SECONDS)
            settled = json.loads(json.dumps(settled))
            goes_on = self._settle(settled, resume=resume)
        stated = json.dumps(settled, sort_keys=True)
        self.mark = "." + hashlib.sha256(stated.encode()).hexdigest()[:8]
        return goes_on

    def _settle(self, settled: dict[str, Any], *, resume: bool) -> bool:
        before = self._manifest() if resume else None
        if before == settled:
            return True
        if before is not None:
            keys = [key for key in {**settled, **before} if settled.get(key) != before.get(key)]
            stated = "; ".join(
                f"{k} was {_stated(before, k)}, is {_stated(settled, k)}" for k in keys
            )
            raise StateMismatchError(
                f"{self.location} holds an unfinished run with other settings: {stated}",
                hint="Repeat the earlier settings, or start over with `resume=False`.",
            )
        self._clear_here()
        if self._is_staged and not resume:
            self._store.remove(self._store.names())
        with self._temporary(MANIFEST) as path:
            path.write_text(json.dumps(settled, indent=1), encoding="utf-8")
            is_first = self._store.create(path, MANIFEST)
        # Locks separate the parts of one machine; another machine may have been faster.
        return False if is_first else self._settle(settled, resume=True)

    def settled(self) -> dict[str, Any]:
        """What was settled.

        Raises:
            StateMismatchError: If nothing was.
        """
        before = self._manifest()
        if before is None:
            raise StateMismatchError(
                f"{self.location} holds no unfinished run",
                hint="Run the parts first, with the same `out`.",
            )
        return before

    @contextmanager
    def writing(self, name: str, *, here: bool = False) -> Iterator[Path]:
        """Write a file: it gets its name when it is complete and on the disk.

        Args:
            name: Its name.
            here: Whether it is for this process only and stays in the folder itself.

        Yields:
            The path to write to.

        Raises:
            HysegError: If the system refuses to write.
        """
        store = FolderStore(self.path) if here else self._store
        with self._temporary(name) as temporary:
            yield temporary
            store.put(temporary, name)

    @contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
        if self._is_staged:
            self._create()  # a worker for another machine has no folder yet
        temporary = self.path / f"{name}.{socket.gethostname()}.{os.getpid()}.tmp"
        try:
            yield temporary
        except WRITE_ERRORS as error:
            raise unwritable(self.out, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _clear_here(self) -> None:
        """Delete the contents of the folder itself, except the locks."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                # Of a run that fails another process may be writing here for one more moment.
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.suffix != ".lock":
                entry.unlink(missing_ok=True)

    def clear_temporary(self) -> None:
        """Delete files that killed runs left half-written; only while no other run is active."""
        for entry in self.path.glob("*.tmp"):
            entry.unlink()

    def remove(self) -> None:
        """Remove the folder and its contents; only while it is locked.

        The file that marks the work as finished is removed last, so that a run killed here leaves
        nothing that another run would continue.
        """
        self._store.remove(sorted(self._store.names(), key=lambda name: name == FINISHED))
        FolderStore(self.path).remove(FolderStore(self.path).names())

    def _create(self) -> None:
        try:
            self.path.mkdir(exist_ok=True, parents=self._is_staged)
        except OSError as error:
            raise unwritable(self.out, error) from error

    def _lock(self, name: str, stack: ExitStack, *, patience: float = 0.0) -> FileLock:
        end = time.monotonic() + patience
        lock = FileLock(self.path / name, timeout=patience)
        while not lock.is_locked:
            try:
                lock.acquire()
            except (Timeout, FileNotFoundError) as error:
                if isinstance(error, FileNotFoundError) and time.monotonic() < end:
                    self._create()  # another part may just have removed the folder
                    continue
                raise StateMismatchError(
                    f"{self.out} is being written by another run",
                    hint="Wait for it to end, or choose another `out`.",
                ) from error
        stack.callback(lock.release)
        return lock

    def _manifest(self) -> dict[str, Any] | None:
        text = self._store.read_text(MANIFEST)
        if text is None:
            return None
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise StateMismatchError(
                f"{self.location}: the {MANIFEST} of the run is damaged ({error})",
                hint="Start over with `resume=False`.",
            ) from error
        return found


def unwritable(out: Path, error: Exception) -> HysegError:
    """The error for an output that the system refuses to write."""
    return HysegError(
        f"{out}: the map cannot be written ({' '.join(str(error).split())})",
        hint="Check the folder's permissions and the free space.",
    )


def _stated(settled: dict[str, Any], key: str) -> str:
    return json.dumps(settled.get(key))
