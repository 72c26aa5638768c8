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
    """A report on stderr: a bar on a terminal, now and then a line elsewhere.

    Args:
        quiet: Say nothing but warnings.
    """

    seconds_between_lines = 10.0
    share_between_lines = 0.01
    """Least part of a task between two lines: days of training must not fill a log."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()
        self._begun: dict[str, tuple[float, int]] = {}
        self._told: dict[str, int] = {}

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
            return
        now = time.monotonic()
        began, first = self._begun.setdefault(task, (now, done))
        enough = done - self._told.get(task, first) >= self.share_between_lines * total
        if done == total or (enough and now - self._last_line >= self.seconds_between_lines):
            self._last_line, self._told[task] = now, done
            left = (now - began) / max(done - first, 1) * (total - done)
            self._print(f"{task}: {done} of {total}" + (f", {_span(left)} left" if left else ""))

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
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the console


def printable(text: str) -> str:
    """A text as every terminal takes it: file names may hold bytes that are no letters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _span(seconds: float) -> str:
    """Some time in the unit in which it is told: `40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
