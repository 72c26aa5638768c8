"""What a workflow tells its user while it runs: lines and progress, always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Report(Protocol):
    """Where a workflow sends its messages."""

    def note(self, text: str) -> None:
        """Something worth knowing."""
        ...

    def warn(self, text: str) -> None:
        """Something the result may suffer from."""
        ...

    def advance(self, task: str, done: int, total: int) -> None:
        """`done` of `total` units of a task."""
        ...


class Silence:
    """A report that says nothing; for calls from Python."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""

    def advance(self, task: str, done: int, total: int) -> None:
        """Ignore it."""


class Console:
    """A report on stderr: a bar on a terminal, a line every ten seconds elsewhere.

    Args:
        quiet: Say nothing but warnings.
    """

    seconds_between_lines = 10.0

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        self._print(f"Warning: {text}")

    def advance(self, task: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._draw(task, done, total)
        elif done == total or time.monotonic() - self._last_line >= self.seconds_between_lines:
            self._last_line = time.monotonic()
            self._print(f"{task}: {done} of {total}")

    def _draw(self, task: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console as RichConsole
            from rich.progress import Progress, TimeElapsedColumn

            self._bar = Progress(
                *Progress.get_default_columns(),
                TimeElapsedColumn(),
                console=RichConsole(stderr=True),
            )
            self._bar.start()
        if task not in self._tasks:
            self._tasks[task] = self._bar.add_task(task)
        self._bar.update(self._tasks[task], completed=done, total=total)

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the console
