"""The queue: workers receive tasks as they become free, whatever happens to the workers.

Engines that restart workers themselves may wait forever for a machine that is gone, with tasks
bound to it. So no engine is asked to: a lost worker is replaced by another, which receives no
task before it has answered, and the rest of the lost task goes to any free worker.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hyseg_cli.cluster.pool import Advanced, Done, Event, Lost, Ready, Unfit, WorkerPool
from hyseg_cli.errors import HysegError

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""How long all workers may be silent before the run gives up; machines take minutes to join."""
SECONDS_TO_WARNING = 60.0
"""After how long the user is warned that no worker has answered."""
ATTEMPTS = 3
"""A task that loses this many workers in a row without progress has failed."""
START_ATTEMPTS = 3
"""This many workers in a row may be lost before they are ready."""


class Task(Protocol):
    """Work for one worker."""

    @property
    def size(self) -> int:
        """The amount of work, in the unit of `Advance`."""
        ...


T = TypeVar("T", bound=Task)


@dataclass
class _Entry(Generic[T]):
    """A task in the queue and its state; mutable."""

    task: T
    losses: int = 0
    """Workers lost in a row without progress."""
    done: int = 0


class Scheduler(Generic[T]):
    """Distributes tasks among the workers of a pool; mutable.

    Args:
        pool: The workers.
        workers: Tasks that run at the same time, at most.
        rest: Returns the rest of a task whose worker was lost; None if it was finished.
        advance: Called with a task and the work that was done on it; negative if work was lost.
        warn: Called with a message for the user.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        workers: int,
        rest: Callable[[T], T | None],
        advance: Callable[[T, int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._ahead = self._slots = workers
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
        self._has_warned = False

    def run(self, tasks: Iterator[T]) -> Iterator[tuple[T, Any]]:
        """Run tasks, taking them from the iterator as they are needed.

        Yields:
            Each task and its answer once it is done, or the HysegError with which it has failed.
            For a task whose worker was lost, this is the rest of it.

        Raises:
            HysegError: If no worker can work.
        """
        self._tasks = tasks
        while self._assign():
            events = self._pool.wait(POLL_SECONDS)
            self._require_signs(is_sign=bool(events or self._busy))
            for event in events:
                yield from self._handle(event)

    def _assign(self) -> bool:
        """Assign tasks to free workers; return whether there is anything left to wait for."""
        while self._tasks is not None and len(self._waiting) < self._ahead:
            # Taken ahead of need, because opening the next scene takes time.
            task = next(self._tasks, None)
            if task is None:
                self._tasks = None
            else:
                self._waiting.append(_Entry(task))
        while self._idle and self._waiting:
            worker, entry = self._idle.pop(), self._waiting.popleft()
            self._busy[worker] = entry
            self._pool.submit(worker, entry.task)
        wanted = min(self._slots, len(self._busy) + len(self._waiting))
        while len(self._busy) + len(self._idle) + len(self._starting) < wanted:
            self._starting.add(self._pool.start())
        return bool(self._busy or self._waiting)

    def _handle(self, event: Event) -> Iterator[tuple[T, Any]]:
        match event:
            case Ready(worker):
                self._starting.discard(worker)
                self._idle.append(worker)
                self._lost_starts = 0
            case Advanced(worker, amount):
                self._count(self._busy[worker], amount)
            case Done(worker, answer):
                entry = self._busy.pop(worker)
                self._idle.append(worker)
                if not isinstance(answer, HysegError):
                    self._count(entry, entry.task.size - entry.done)
                yield entry.task, answer
            case Unfit(worker, error):
                self._starting.discard(worker)
                self._slots -= 1
                if self._slots == 0:
                    raise error
                self._warn(f"a worker is left out: {error.message}. {error.hint}")
            case Lost(worker, error):
                yield from self._lost(worker, error)

    def _lost(self, worker: int, error: HysegError) -> Iterator[tuple[T, Any]]:
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
        # Finished parts of the task stay finished.
        self._count(entry, entry.task.size - (rest.size if rest else 0) - entry.done)
        if rest is None:
            yield entry.task, None
            return
        losses = entry.losses + 1 if rest.size == entry.task.size else 0
        if losses >= ATTEMPTS:
            yield rest, error
        else:
            self._warn(f"{error.message}; another worker takes over its task")
            self._waiting.appendleft(_Entry(rest, losses))

    def _count(self, entry: _Entry[T], amount: int) -> None:
        if amount:
            entry.done += amount
            self._advance(entry.task, amount)

    def _require_signs(self, *, is_sign: bool) -> None:
        now = time.monotonic()
        if is_sign:
            self._last_sign, self._has_warned = now, False
            return
        waited = now - self._last_sign
        there = self._pool.describe()
        if waited > PATIENCE_SECONDS:
            raise HysegError(
                f"no worker has answered for {waited:.0f} s; {there}",
                hint="Start machines, or ask for less with `workers` and `gpus_per_worker`.",
            )
        if waited > SECONDS_TO_WARNING and not self._has_warned:
            self._has_warned = True
            self._warn(f"waiting for workers for {waited:.0f} s; {there}")
