"""What an engine has to offer: workers that are hired, given tasks and listened to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from hyseg_cli.errors import HysegError

Advance = Callable[[int], None]
"""Told of an amount of work that is done."""
Skill = Callable[[Any, Advance], None]
"""Does a task; raises HysegError."""


class Trade(Protocol):
    """What all workers of a crew do; it is sent to each of them."""

    def learn(self, seat: int) -> Skill:
        """Get ready, in the process of the worker.

        Args:
            seat: Number of the worker, from 0.

        Raises:
            HysegError: If it cannot work.
        """
        ...


@dataclass(frozen=True)
class Ready:
    """A worker has got ready and takes tasks."""

    worker: int


@dataclass(frozen=True)
class Unfit:
    """A worker cannot work, and another in its place could not either."""

    worker: int
    error: HysegError


@dataclass(frozen=True)
class Advanced:
    """A worker has done so much of its task since it last told."""

    worker: int
    amount: int


@dataclass(frozen=True)
class Done:
    """A worker is through with its task."""

    worker: int
    error: HysegError | None = None
    """Why the task failed; None if it did not."""


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with its process or its machine; its task may be given to another."""

    worker: int
    error: HysegError


Event = Ready | Unfit | Advanced | Done | Lost


class Crew(Protocol):
    """Workers of one engine; mutable. It is a context: when it ends, so do they."""

    def hire(self) -> int:
        """Ask for a worker, who takes tasks from the moment when it is told to be ready.

        Returns:
            Its number.
        """
        ...

    def give(self, worker: int, task: Any) -> None:
        """Give a task to a worker who has none."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """What has happened; waits until something has, or for so long."""
        ...

    def describe(self) -> str:
        """What there is to work with, for a message that says why nobody works."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
