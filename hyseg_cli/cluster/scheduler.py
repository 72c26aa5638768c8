"""The queue: tasks are given to workers as these come free, whatever becomes of the workers.

Engines that restart workers by themselves may wait for ever for a machine that is gone, with tasks
bound to it. So none is asked to: a worker who is lost is replaced by one who is given nothing
before it has answered, and what is left of its task goes to whoever is free.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from hyseg_cli.cluster.pool import Advanced, Crew, Done, Event, Lost, Ready, Unfit
from hyseg_cli.errors import HysegError

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""How long nobody may work before the run gives up; machines take minutes to join a cluster."""
PATIENCE_TO_TELL = 60.0
"""After how long the user is told that nobody works."""
ATTEMPTS = 3
"""Workers in a row that a task may lose while nothing of it gets done; then it has failed."""
START_ATTEMPTS = 3
"""Workers in a row that may be lost before they are ready."""


class Task(Protocol):
    """Something to do for one worker."""

    @property
    def size(self) -> int:
        """The amount of work, in what `Advance` is told."""
        ...


T = TypeVar("T", bound=Task)


@dataclass
class _Entry(Generic[T]):
    """A task in the queue, and what became of it; mutable."""

    task: T
    losses: int = 0
    """In a row, without anything being done."""
    done: int = 0


class Dispatch(Generic[T]):
    """Shares tasks out among the workers of a crew; mutable.

    Args:
        crew: Who works.
        workers: Tasks that are in work at once, at most.
        rest: What is left of a task whose worker was lost; None if nothing is.
        advance: Told of tasks and of the work that was done of them; negative if it was lost.
        warn: Told what the user should know.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        workers: int,
        rest: Callable[[T], T | None],
        advance: Callable[[T, int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._crew = crew
        self._ahead = self._seats = workers
        self._rest = rest
        self._advance = advance
        self._warn = warn
        self._tasks: Iterator[T] | None = None
        self._waiting: deque[_Entry[T]] = deque()
        self._busy: dict[int, _Entry[T]] = {}
        self._idle: list[int] = []
        self._starting: set[int] = set()
        self._lost_starts = 0
        self._last_sign = time.monotonic()
        self._has_told = False

    def run(self, tasks: Iterator[T]) -> Iterator[tuple[T, HysegError | None]]:
        """Do tasks, which are taken from the iterator as they are needed.

        Yields:
            Each task when it is done, or has failed with an error. A task whose worker was lost
            comes as what was left of it.

        Raises:
            HysegError: If there is nobody to work.
        """
        self._tasks = tasks
        while self._share_out():
            events = self._crew.wait(POLL_SECONDS)
            self._require_signs(is_sign=bool(events or self._busy))
            for event in events:
                yield from self._heard(event)

    def _share_out(self) -> bool:
        """Give out what can be given; whether anything is left to wait for."""
        while self._tasks is not None and len(self._waiting) < self._ahead:
            # Taken ahead of need: to open the next scene takes time.
            task = next(self._tasks, None)
            if task is None:
                self._tasks = None
            else:
                self._waiting.append(_Entry(task))
        while self._idle and self._waiting:
            worker, entry = self._idle.pop(), self._waiting.popleft()
            self._busy[worker] = entry
            self._crew.give(worker, entry.task)
        wanted = min(self._seats, len(self._busy) + len(self._waiting))
        while len(self._busy) + len(self._idle) + len(self._starting) < wanted:
            self._starting.add(self._crew.hire())
        return bool(self._busy or self._waiting)

    def _heard(self, event: Event) -> Iterator[tuple[T, HysegError | None]]:
        match event:
            case Ready(worker):
                self._starting.discard(worker)
                self._idle.append(worker)
                self._lost_starts = 0
            case Advanced(worker, amount):
                self._count(self._busy[worker], amount)
            case Done(worker, error):
                entry = self._busy.pop(worker)
                self._idle.append(worker)
                if error is None:
                    self._count(entry, entry.task.size - entry.done)
                yield entry.task, error
            case Unfit(worker, error):
                self._starting.discard(worker)
                self._seats -= 1
                if self._seats == 0:
                    raise error
                self._warn(f"a worker is left out: {error.message}. {error.hint}")
            case Lost(worker, error):
                yield from self._lost(worker, error)

    def _lost(self, worker: int, error: HysegError) -> Iterator[tuple[T, HysegError | None]]:
        entry = self._busy.pop(worker, None)
        if entry is None:
            if worker in self._idle:
                self._idle.remove(worker)
            elif worker in self._starting:
                self._starting.remove(worker)
                self._lost_starts += 1
                if self._lost_starts >= START_ATTEMPTS:
                    raise error
            return
        rest = self._rest(entry.task)
        # Parts of the task that are done stay done.
        self._count(entry, entry.task.size - (rest.size if rest else 0) - entry.done)
        if rest is None:
            yield entry.task, None
            return
        losses = entry.losses + 1 if rest.size == entry.task.size else 0
        if losses >= ATTEMPTS:
            yield rest, error
        else:
            self._warn(f"{error.message}; another goes on with its task")
            self._waiting.appendleft(_Entry(rest, losses))

    def _count(self, entry: _Entry[T], amount: int) -> None:
        if amount:
            entry.done += amount
            self._advance(entry.task, amount)

    def _require_signs(self, *, is_sign: bool) -> None:
        now = time.monotonic()
        if is_sign:
            self._last_sign, self._has_told = now, False
            return
        waited = now - self._last_sign
        there = self._crew.describe()
        if waited > PATIENCE_SECONDS:
            raise HysegError(
                f"no worker has answered for {waited:.0f} s; {there}",
                hint="Start machines, or ask for less with --workers and --gpus-per-worker.",
            )
        if waited > PATIENCE_TO_TELL and not self._has_told:
            self._has_told = True
            self._warn(f"waiting for workers for {waited:.0f} s; {there}")
