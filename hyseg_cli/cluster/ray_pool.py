"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import logging
import os
import platform
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from hyseg_cli import __version__
from hyseg_cli.cluster.pool import Advanced, Done, Event, Lost, Ready, RunTask, Unfit, WorkerSetup
from hyseg_cli.errors import HysegError, UsageProblemError

PROBE_SECONDS = 10.0
"""How long a cluster may take to accept a connection; Ray itself tries for minutes."""


class RayWorker:
    """The body of an actor; mutable. Two of its methods may run at once."""

    def __init__(self) -> None:
        self._run_task: RunTask | None = None
        self._progress = (0, 0)

    def hello(self) -> tuple[str, str]:
        """Its version of hyseg, and the name of its machine."""
        return __version__, platform.node()

    def prepare(self, setup: WorkerSetup, slot: int) -> HysegError | None:
        """Prepare to run tasks; returns the error if that fails."""
        try:
            self._run_task = setup.prepare(slot)
        except HysegError as error:
            return error
        return None

    def do(self, number: int, task: Any) -> Any:
        """Run the task with this number; returns its answer, or the error if it fails."""
        if self._run_task is None:
            message = "the worker has not been prepared yet"
            raise RuntimeError(message)

        def advance(amount: int) -> None:
            self._progress = number, self._progress[1] + amount

        self._progress = number, 0
        try:
            return self._run_task(task, advance)
        except HysegError as error:
            return error

    def amount(self) -> tuple[int, int]:
        """Number of the task it does, and how much of it is done."""
        return self._progress


@dataclass
class _Actor:
    """An actor and its current request; mutable."""

    handle: Any
    slot: int
    asked: Literal["hello", "prepare", "do"] = "hello"
    reply: Any = None
    """The reply that will hold the answer; None without a request."""
    task: int = 0
    amount: int = 0
    """The amount of its task, as it last reported."""
    progress: Any = None
    """The reply that will hold the amount."""


class RayPool:
    """Actors of a Ray cluster; mutable.

    Actors are not restarted by Ray: see `scheduler`. Those for which the cluster has no room start
    when machines join.

    Args:
        address: `ray` for the cluster of this machine or of the variable RAY_ADDRESS, or
            `ray://HOST:PORT` of the server for clients of a cluster.
        setup: Prepares each of them.
        gpus: GPUs for each of them; may be a part of one.

    Raises:
        UsageProblemError: If Ray is not installed, or the cluster has no such GPU.
        HysegError: If there is no cluster.
    """

    def __init__(self, address: str, setup: WorkerSetup, *, gpus: float = 0.0) -> None:
        self._ray = _connect(address)
        self._setup = setup
        self._gpus = gpus
        self._actors: dict[int, _Actor] = {}
        self._started = 0
        self._submitted = 0
        there = self._ray.cluster_resources()
        if gpus > there.get("GPU", 0.0):
            self._ray.shutdown()
            raise UsageProblemError(
                f"`gpus_per_worker` {gpus:g}, but the cluster has {there.get('GPU', 0.0):g} GPUs",
                hint="Start a node with GPUs, or use `gpus_per_worker` 0 to work on CPUs.",
            )
        # Every worker uses one CPU besides its GPU.
        self.room = max(1, int(there.get("GPU", 0.0) / gpus if gpus else there.get("CPU", 1.0)))
        """Workers that fit into the cluster as it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor.handle)
        self._ray.shutdown()

    def start(self) -> int:
        """Ask Ray for an actor."""
        worker, self._started = self._started, self._started + 1
        # Two calls at once: it reports progress while it works.
        described = self._ray.remote(
            num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )
        handle = described(RayWorker).remote()
        self._actors[worker] = _Actor(handle, slot=worker, reply=handle.hello.remote())
        return worker

    def submit(self, worker: int, task: Any) -> None:
        """Send a task."""
        actor, self._submitted = self._actors[worker], self._submitted + 1
        actor.asked, actor.task, actor.amount = "do", self._submitted, 0
        actor.reply = actor.handle.do.remote(self._submitted, task)

    def wait(self, seconds: float) -> list[Event]:
        """The events of the actors, including those that are gone."""
        for actor in self._actors.values():
            if actor.asked == "do" and actor.reply is not None and actor.progress is None:
                actor.progress = actor.handle.amount.remote()
        replies = [actor.reply for actor in self._actors.values() if actor.reply is not None]
        if replies:
            self._ray.wait(replies, num_returns=1, timeout=seconds)
        pending = [actor.progress for actor in self._actors.values() if actor.progress is not None]
        asked = replies + pending
        there: set[Any] = set()
        if asked:
            there = set(self._ray.wait(asked, num_returns=len(asked), timeout=0)[0])
        events: list[Event | None] = []
        for worker, actor in list(self._actors.items()):
            if actor.reply in there:
                events.append(self._handle_reply(worker, actor))
            elif actor.progress in there:
                events.append(self._handle_progress(worker, actor))
        return [event for event in events if event is not None]

    def describe(self) -> str:
        """The resources of the cluster, and the free ones."""
        there, free = self._ray.cluster_resources(), self._ray.available_resources()
        parts = [f"{there.get(k, 0.0):g} {k}s ({free.get(k, 0.0):g} free)" for k in ("CPU", "GPU")]
        return f"the cluster has {' and '.join(parts)}"

    def _handle_reply(self, worker: int, actor: _Actor) -> Event | None:
        reply, actor.reply, actor.progress = actor.reply, None, None
        try:
            answer = self._ray.get(reply)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except self._ray.exceptions.RayError as error:
            return self._lost(worker, error)
        if actor.asked == "do":
            return Done(worker, answer)
        if actor.asked == "prepare":
            return Ready(worker) if answer is None else Unfit(worker, answer)
        version, machine = answer
        if version != __version__:
            return Unfit(
                worker,
                HysegError(
                    f"the worker on {machine} runs hyseg {version}, this is hyseg {__version__}",
                    hint="Install the same version on all machines of the cluster.",
                ),
            )
        actor.asked, actor.reply = "prepare", actor.handle.prepare.remote(self._setup, actor.slot)
        return None

    def _handle_progress(self, worker: int, actor: _Actor) -> Event | None:
        progress, actor.progress = actor.progress, None
        try:
            task, amount = self._ray.get(progress)
        except self._ray.exceptions.RayError:
            return None  # the reply to the task reports this, too
        if task != actor.task:
            return None
        before, actor.amount = actor.amount, amount
        return Advanced(worker, amount - before)

    def _lost(self, worker: int, error: Exception) -> Lost:
        actor = self._actors.pop(worker)
        # It may still be running where nobody can reach it.
        self._ray.kill(actor.handle)
        return Lost(
            worker,
            HysegError(
                f"a worker is gone ({_one_line(error)})",
                hint="Finished parts are kept: run again; see the logs of Ray.",
            ),
        )


def _connect(address: str) -> Any:
    """The module `ray`, connected to a cluster."""
    # Telemetry stays off.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageProblemError(
            "`cluster` needs Ray, which is not installed",
            hint='Install it on all machines: pip install "hyseg[ray]".',
        ) from error
    named = os.environ.get("RAY_ADDRESS", "") if address == "ray" else address
    _require_answer(named)
    try:
        ray.init(
            address="auto" if address == "ray" else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        raise HysegError(
            f"`cluster` {address}: no Ray cluster can be joined ({_one_line(error)})",
            hint="Start one with `ray start --head`, or name it: `cluster` ray://HOST:10001.",
        ) from error
    return ray


def _require_answer(named: str) -> None:
    """Refuse an address at which nothing listens."""
    host, _, port = named.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise HysegError(
            f"no Ray cluster answers at {host}:{port} ({error})",
            hint="Check the address; a cluster listens to clients on port 10001.",
        ) from error


def _one_line(error: Exception) -> str:
    """The most informative line of a message of Ray: its last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
