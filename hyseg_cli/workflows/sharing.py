"""One scene on several devices: a process for each, side by side."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.units import Unit, share_of
from hyseg_cli.geo.work import WorkFolder
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.mapper import Mapper
from hyseg_cli.workflows.mapping import Advance
from hyseg_cli.workflows.mapping_plan import Plan

POLL_SECONDS = 0.5


def map_in_processes(
    plan: Plan, units: tuple[Unit, ...], settings: PredictSettings, advance: Advance
) -> None:
    """Write the shards of units, shared among `settings.devices` processes.

    Raises:
        HysegError: The first error of a process; the others are stopped, their finished shards
            are kept.
    """
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    shares = [
        share_of(units, number, settings.devices) for number in range(1, settings.devices + 1)
    ]
    processes = [
        context.Process(target=_work, args=(plan, share, settings, number, news), daemon=True)
        for number, share in enumerate(shares)
        if share
    ]
    with _running(processes):
        while any(process.is_alive() for process in processes) or not news.empty():
            try:
                item = news.get(timeout=POLL_SECONDS)
            except queue.Empty:
                _require_healthy(processes)
                continue
            if isinstance(item, HysegError):
                raise item
            advance(item)
        _require_healthy(processes)


@contextmanager
def _running(processes: Sequence[BaseProcess]) -> Iterator[None]:
    # Ctrl-C reaches the whole group: this process alone answers, and ends the others.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        for process in processes:
            process.start()
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _require_healthy(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode not in (None, 0):
            raise HysegError(
                f"a process that mapped a part ended with code {process.exitcode}",
                hint="Its finished parts are kept: run again, with less --devices if memory was "
                "short.",
            )


def _work(
    plan: Plan, units: tuple[Unit, ...], settings: PredictSettings, number: int, news: Any
) -> None:
    """The body of a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.devices))
    else:
        device = f"cuda:{number}"
    try:
        mapper = Mapper.load(settings, device)
        mapper.map_units(plan, WorkFolder(plan.out), units, news.put)
    except HysegError as error:
        news.put(error)


def _end_with_parent() -> None:
    """End this process when its parent is killed.

    Nobody holds the lock of the output any more then: another run may settle on other settings,
    and must not find shards of these.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
