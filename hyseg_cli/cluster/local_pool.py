"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from hyseg_cli.cluster.pool import Advanced, Done, Event, Lost, Ready, Unfit, WorkerSetup
from hyseg_cli.errors import HysegError


class LocalPool:
    """Processes of this machine; mutable.

    Args:
        setup: Prepares each of them.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._pipes: dict[Connection, int] = {}
        self._slots: dict[int, int] = {}
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join()

    def start(self) -> int:
        """Start a process; the replacement of a lost one takes its slot, and so its device."""
        worker, self._started = self._started, self._started + 1
        slot = next(i for i in range(worker + 1) if i not in self._slots.values())
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._setup, worker, slot, theirs), daemon=True
        )
        with _deaf_to_ctrl_c():
            process.start()
        # A process that dies closes the pipe only if no other process holds that end.
        theirs.close()
        self._processes[worker], self._pipes[ours], self._slots[worker] = process, worker, slot
        return worker

    def submit(self, worker: int, task: Any) -> None:
        """Send a task; `wait` reports if the process is gone."""
        pipe = next(pipe for pipe, owner in self._pipes.items() if owner == worker)
        with suppress(OSError):
            pipe.send(task)

    def wait(self, seconds: float) -> list[Event]:
        """The events of the processes, including those that are gone."""
        return [self._receive(pipe) for pipe in wait(list(self._pipes), seconds)]

    def describe(self) -> str:
        """How many processes there are."""
        return f"{len(self._processes)} processes were started here"

    def _receive(self, pipe: Any) -> Event:
        try:
            event: Event = pipe.recv()
        except (EOFError, OSError):
            worker = self._pipes.pop(pipe)
            process = self._processes.pop(worker)
            del self._slots[worker]
            process.join()
            error = HysegError(
                f"a process that mapped a part ended with code {process.exitcode}",
                hint="Its finished parts are kept: run again, with fewer `devices` if memory was "
                "short.",
            )
            return Lost(worker, error)
        return event


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    # Ctrl-C reaches the whole group, but only the first process reacts; it ends the others.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(setup: WorkerSetup, worker: int, slot: int, pipe: Connection) -> None:
    """The body of a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_task = setup.prepare(slot)
    except HysegError as error:
        pipe.send(Unfit(worker, error))
        return
    pipe.send(Ready(worker))
    while True:
        task = pipe.recv()
        try:
            answer = run_task(task, lambda amount: pipe.send(Advanced(worker, amount)))
        except HysegError as error:
            pipe.send(Done(worker, error))
        else:
            pipe.send(Done(worker, answer))


def _end_with_parent() -> None:
    """End this process when its parent is gone, because nobody waits for its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
