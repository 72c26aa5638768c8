"""Messages and progress of a workflow for its user, always on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Unit = Literal["", "px"]
"""The unit of a task: pixels, or whatever its name says."""
LogFormat = Literal["text", "json"]


def format_duration(seconds: float) -> str:
    """A duration to about a tenth: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Messages(Protocol):
    """Where a workflow sends its messages."""

    def note(self, text: str) -> None:
        """Something worth knowing."""
        ...

    def warn(self, text: str) -> None:
        """A problem that may affect the result."""
        ...

    def fail(self, text: str) -> None:
        """A part of the task that failed, while the rest continues."""
        ...

    def advance(self, task: str, done: int, total: int, *, unit: Unit = "") -> None:
        """`done` of `total` units of a task."""
        ...


class Silence:
    """A report that says nothing; for calls from Python."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""

    def fail(self, text: str) -> None:
        """Ignore it."""

    def advance(self, task: str, done: int, total: int, *, unit: Unit = "") -> None:
        """Ignore it."""


class Console:
    """A report on stderr: a bar on a terminal, now and then a line elsewhere.

    If the reader of stderr closes the pipe, the run continues: the output file matters.

    Args:
        quiet: Print failures only.
        log_format: `json` for a JSON object on each line, also on a terminal.
        write: Turns a message into the text to be shown; the command line puts in its flags.
    """

    seconds_between_lines = 10.0
    seconds_between_objects = 1.0
    """The same for JSON: a program that shows a bar reads it, not a person."""
    share_between_lines = 0.01
    """Least part of a task between two lines: days of training must not fill a log."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        log_format: LogFormat = "text",
        write: Callable[[str], str] = str,
    ) -> None:
        self._quiet = quiet
        self._write = write
        self._is_json = log_format == "json"
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = monotonic()
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
            text = self._write(text)
            self._print(json_line("info", text) if self._is_json else text)

    def warn(self, text: str) -> None:
        if not self._quiet:
            text = self._write(text)
            self._print(json_line("warning", text) if self._is_json else f"Warning: {text}")

    def fail(self, text: str) -> None:
        text = self._write(text)
        self._print(json_line("error", text) if self._is_json else f"Error: {text}")

    def advance(self, task: str, done: int, total: int, *, unit: Unit = "") -> None:
        if self._quiet:
            return
        now = monotonic()
        began, first = self._begun.setdefault(task, (now, done))
        speed = (done - first) / (now - began) if now > began else 0.0
        if sys.stderr.isatty() and not self._is_json:
            self._draw(task, done, total, _pace(speed) if unit == "px" else "")
            return
        enough = done - self._told.get(task, first) >= self.share_between_lines * total
        pause = self.seconds_between_objects if self._is_json else self.seconds_between_lines
        if done == total or (enough and now - self._last_line >= pause):
            self._last_line, self._told[task] = now, done
            text = _progress(task, done, total, speed, unit)
            more: dict[str, str | int] = {"task": task, "done": done, "total": total}
            self._print(json_line("info", text, **more) if self._is_json else text)

    def _draw(self, task: str, done: int, total: int, pace: str) -> None:
        if self._bar is None:
            from rich.console import Console as RichConsole
            from rich.progress import Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                *Progress.get_default_columns(),
                TextColumn("{task.fields[pace]}"),
                TimeElapsedColumn(),
                console=RichConsole(stderr=True),
            )
            self._bar.start()
        if task not in self._tasks:
            # The work of an earlier run says nothing about the speed of this one.
            started = self._bar.add_task(task, completed=done, total=total, pace=pace)
            self._tasks[task] = started
        self._bar.update(self._tasks[task], completed=done, total=total, pace=pace)

    def _print(self, text: str) -> None:
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        try:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the console
        except BrokenPipeError:
            drop_the_rest(sys.stderr)


def json_line(level: str, message: str, **more: str | int) -> str:
    """A line of a log as a JSON object with time (ISO 8601, UTC), level, message and more."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "message": message, **more})


def _progress(task: str, done: int, total: int, speed: float, unit: Unit) -> str:
    """A line of progress; the speed is in units per second, 0 if it is not known."""
    parts = [f"{task}: {done} of {total}"]
    if unit == "px":
        parts = [f"{task}: {_mega(done)} of {_mega(total)} Mpx", _pace(speed)]
    if speed and done < total:
        parts.append(f"{_span((total - done) / speed)} left")
    return ", ".join(part for part in parts if part)


def _pace(speed: float) -> str:
    return f"{_mega(speed)} Mpx/s" if speed else ""


def _mega(pixels: float) -> str:
    """Millions with three digits."""
    millions = pixels / 1e6
    return f"{millions:.0f}" if millions >= 100 else f"{millions:.3g}"


def printable(text: str) -> str:
    """A text that every terminal accepts: file names may hold bytes that are not letters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def drop_the_rest(stream: TextIO) -> None:
    """Discard further output to a closed pipe, without an error."""
    # The descriptor, not the object, because Python flushes the rest again when it exits.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _span(seconds: float) -> str:
    """A duration in a readable unit: `90 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
