"""The work folder of an output that is not finished: what was settled, and what is done.

It lies beside the output and outlives a run that is stopped or killed. Whatever is in it under
its final name is complete: files are written under another name, synced and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rasterio._err import CPLE_BaseError  # closing a file raises it bare
from rasterio.errors import RasterioError

from hyseg_cli.errors import HysegError, StateMismatchError

MANIFEST = "manifest.json"
LOCK = "run.lock"
FINISHING = "finishing"
WRITE_ERRORS = (OSError, RasterioError, CPLE_BaseError)
"""What a full disk or a missing permission may raise while a raster is written."""


class WorkFolder:
    """The folder `OUT.hyseg` beside an output; mutable, as files in it come and go."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".hyseg")

    @property
    def is_finishing(self) -> bool:
        """Whether a run was stopped while it gave the outputs their names."""
        return (self.path / FINISHING).exists()

    @property
    def has_shards(self) -> bool:
        """Whether anything was computed, by whatever settings."""
        return any(self.path.glob("*.tif"))

    def start_finishing(self) -> None:
        """Remember that outputs which exist from now on are our own."""
        with self.writing(FINISHING) as path:
            path.touch()

    @contextmanager
    def locked(self, part: str | None = None) -> Iterator[None]:
        """Keep other runs off the output.

        Runs of different parts work side by side; nothing else may run beside any other. The
        system frees the locks of a process that dies.

        Args:
            part: Name of the part of the work, None for all of it.

        Raises:
            StateMismatchError: If another run is at work.
        """
        self._create()
        with ExitStack() as stack:
            whole = self._lock(LOCK, stack)
            if part is None:
                for other in sorted(self.path.glob("part-*.lock")):
                    self._lock(other.name, stack)
            else:
                self._lock(f"part-{part}.lock", stack)
                whole.release()
            yield

    def settle(self, settled: dict[str, Any], *, resume: bool) -> bool:
        """Agree on what the work in this folder is.

        Args:
            settled: Everything that the result depends on, as JSON can hold it.
            resume: Go on with work that was settled in the same way; otherwise it is thrown
                away.

        Returns:
            Whether there is earlier work to go on with.

        Raises:
            StateMismatchError: If the folder holds work that was settled otherwise.
        """
        settled = json.loads(json.dumps(settled))
        before = self._manifest() if resume else None
        if before == settled:
            return True
        if before is not None:
            keys = [key for key in {**settled, **before} if settled.get(key) != before.get(key)]
            told = "; ".join(f"{k} was {_told(before, k)}, is {_told(settled, k)}" for k in keys)
            raise StateMismatchError(
                f"{self.path} holds an unfinished run with other settings: {told}",
                hint="Repeat the earlier settings, or start anew with --no-resume.",
            )
        self.clear()
        with self.writing(MANIFEST) as path:
            path.write_text(json.dumps(settled, indent=1), encoding="utf-8")
        return False

    def settled(self) -> dict[str, Any]:
        """What was settled.

        Raises:
            StateMismatchError: If nothing was.
        """
        before = self._manifest()
        if before is None:
            raise StateMismatchError(
                f"{self.path} holds no unfinished run",
                hint="Run the parts first, with the same --out.",
            )
        return before

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Write a file of the folder: it gets its name when it is complete and on the disk.

        Yields:
            The path to write to.

        Raises:
            HysegError: If the system refuses.
        """
        temporary = self.path / f"{name}.{socket.gethostname()}.{os.getpid()}.tmp"
        try:
            yield temporary
            sync(temporary)
            temporary.replace(self.path / name)
            sync(self.path)
        except WRITE_ERRORS as error:
            raise unwritable(self.out, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def clear(self) -> None:
        """Throw the work away, but not the locks."""
        for entry in self.path.iterdir():
            if entry.suffix != ".lock":
                entry.unlink()

    def clear_temporary(self) -> None:
        """Throw away what killed runs left half-written; only while no other run is at work."""
        for entry in self.path.glob("*.tmp"):
            entry.unlink()

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _create(self) -> None:
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(self.out, error) from error

    def _lock(self, name: str, stack: ExitStack) -> FileLock:
        lock = FileLock(self.path / name, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise StateMismatchError(
                f"{self.out} is being written by another run",
                hint="Wait for it to end, or choose another --out.",
            ) from error
        stack.callback(lock.release)
        return lock

    def _manifest(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(out: Path, error: Exception) -> HysegError:
    """The error for an output that the system does not let us write."""
    return HysegError(
        f"{out}: the map cannot be written ({' '.join(str(error).split())})",
        hint="Check the folder's permissions and the free space.",
    )


def _told(settled: dict[str, Any], key: str) -> str:
    return json.dumps(settled.get(key))
