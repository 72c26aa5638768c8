"""Signals that ask a run to stop: it ends its step and keeps its state first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from hyseg_cli.errors import InterruptedRunError


class Interruption:
    """Notes the first Ctrl-C or SIGTERM; a second one ends the run wherever it is.

    Works in the main thread alone; elsewhere signals stay with whoever has them.

    Args:
        task: What is going on, for the message.
        hint: How to go on later.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, task: str, hint: str) -> None:
        self.received: signal.Signals | None = None
        self._task = task
        self._hint = hint
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in self.signals}

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_main:
            for number, before in self._before.items():
                signal.signal(number, before)

    def listen(self) -> None:
        """Take the signals, also from a library that has taken them since."""
        if self._is_main:
            for number in self.signals:
                signal.signal(number, self._note)

    def error(self, where: str) -> InterruptedRunError:
        """What to raise when the state is kept, or cannot be."""
        received = self.received or signal.SIGTERM
        return InterruptedRunError(
            received, f"Stopped by {received.name} {where} of {self._task}", hint=self._hint
        )

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise self.error("in the middle")
        self.received = signal.Signals(number)
