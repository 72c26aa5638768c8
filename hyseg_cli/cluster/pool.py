"""The interface of a pool: start workers, submit tasks to them, wait for their events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from hyseg_cli.errors import HysegError

Advance = Callable[[int], None]
"""Called with the amount of work that was done."""
RunTask = Callable[[Any, Advance], Any]
"""Runs a task and returns its answer, None if it has none; raises HysegError."""


class WorkerSetup(Protocol):
    """Prepares a worker of a pool; it is sent to each of them."""

    def prepare(self, slot: int) -> RunTask:
        """Prepare to run tasks, in the process of the worker.

        Args:
            slot: Number of the slot that the worker takes, from 0.

        Raises:
            HysegError: If it cannot work.
        """
        ...


@dataclass(frozen=True)
class Ready:
    """A worker is ready for tasks."""

    worker: int


@dataclass(frozen=True)
class Unfit:
    """A worker cannot work, and another in its place could not either."""

    worker: int
    error: HysegError


@dataclass(frozen=True)
class Advanced:
    """A worker has done this amount of its task since its last report."""

    worker: int
    amount: int


@dataclass(frozen=True)
class Done:
    """A worker has finished its task."""

    worker: int
    answer: Any = None
    """What the task returned, or the error with which it failed."""


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with its process or its machine; its task may go to another worker."""

    worker: int
    error: HysegError


Event = Ready | Unfit | Advanced | Done | Lost


class WorkerPool(Protocol):
    """The workers of one engine; mutable. When its context ends, so do the workers."""

    def start(self) -> int:
        """Start a worker; it accepts tasks once `Ready` has been reported for it.

        Returns:
            Its number.
        """
        ...

    def submit(self, worker: int, task: Any) -> None:
        """Send a task to a worker that has none."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """The events since the last call; waits for one, at most for this many seconds."""
        ...

    def describe(self) -> str:
        """The resources of the pool, for a message that explains why nothing happens."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
