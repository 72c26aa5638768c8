"""Processes that are killed just before they change a name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

import torch


def in_a_process(act: Callable[[], int], changes: Iterable[str], killed_before: int = 0) -> int:
    """The exit code of what is done in a process of its own, -9 if it was killed.

    Args:
        act: What to do; returns the exit code.
        changes: Functions of `os` that are counted.
        killed_before: Which call of them ends the process before it does anything; 0 for none.
    """
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        left = killed_before

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return called

        for name in changes:
            setattr(os, name, counted(getattr(os, name)))
        os._exit(act())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
