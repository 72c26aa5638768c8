"""A run of the program: its log becomes messages and progress, and it can be cancelled.

hyseg logs a JSON object on each line of stderr: `level`, `message`, for errors `hint`, and for
progress `task`, `done` and `total`. Its result is all that is on stdout.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from typing import IO, Any, Sequence

from .program import clean_environment

SECONDS_TO_END = 60.0
"""How long a cancelled run may take to put in order what it holds, before it is killed."""
_SECONDS_BETWEEN_LOOKS = 0.1
_LINES_TO_SHOW = 20
"""Lines of stderr that are shown of a run that failed without saying why."""


class Listener:
    """What a run reports to: QGIS's feedback, or nothing."""

    def advance(self, percent: float, text: str) -> None:
        """How much of a task is done, 0 to 100, and what there is to read of it."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something that the result may suffer from."""

    def is_cancelled(self) -> bool:
        """Whether the run is to end."""
        return False


class RunFailedError(Exception):
    """The program ended with an error.

    Args:
        message: What it said.
        hint: What to do about it; may be empty.
        code: Its exit code.
    """

    def __init__(self, message: str, hint: str, code: int) -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.code = code


class RunCancelledError(Exception):
    """The run was cancelled, and has ended."""


def run(
    words: Sequence[str],
    listener: Listener,
    *,
    accepted: Sequence[int] = (0,),
    seconds_to_end: float = SECONDS_TO_END,
) -> str:
    """Run a command to its end.

    Args:
        words: The program and its arguments; `--log-format json` is added.
        listener: Hears of it; asked ten times a second whether to cancel, which sends SIGTERM:
            hyseg then keeps what is finished, and the same command goes on with it.
        accepted: Exit codes that come with a result.
        seconds_to_end: How long it may take to end when it is cancelled.

    Returns:
        What it wrote to stdout.

    Raises:
        RunFailedError: If it cannot be started, or ends with another code.
        RunCancelledError: If the listener asked for it.
    """
    process = _start([*words, "--log-format", "json"])
    lines: queue.Queue[str | None] = queue.Queue()
    result: list[str] = []
    readers = (
        threading.Thread(target=_pass_lines, args=(process.stderr, lines), daemon=True),
        threading.Thread(target=_keep_all, args=(process.stdout, result), daemon=True),
    )
    for reader in readers:
        reader.start()
    log = _Log(listener)
    try:
        is_cancelled = _follow(process, lines, log, listener, seconds_to_end)
    finally:
        if process.poll() is None:
            process.kill()
    for reader in readers:
        reader.join(timeout=5)
    code = process.wait()
    # A run may have been done before the signal came: then there is a result to show.
    if code in accepted:
        return "".join(result)
    if is_cancelled:
        raise RunCancelledError
    raise log.failure(code)


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    more: dict[str, Any] = {}
    if sys.platform == "win32":
        more["creationflags"] = subprocess.CREATE_NO_WINDOW
    try:
        return subprocess.Popen(  # noqa: S603 - the words are a list, no shell reads them
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=clean_environment(),
            **more,
        )
    except OSError as error:
        raise RunFailedError(f"{words[0]} cannot be started: {error}", "", -1) from error


def _pass_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip("\r\n"))
    lines.put(None)


def _keep_all(stream: IO[str], result: list[str]) -> None:
    with stream:
        result.append(stream.read())


def _follow(
    process: subprocess.Popen[str],
    lines: queue.Queue[str | None],
    log: _Log,
    listener: Listener,
    seconds_to_end: float,
) -> bool:
    """Hear lines until there are no more; whether the run was cancelled."""
    deadline = None
    while True:
        if deadline is None and listener.is_cancelled():
            deadline = time.monotonic() + seconds_to_end
            listener.note("Cancelling: hyseg puts in order what is finished.")
            process.terminate()
        if deadline is not None and time.monotonic() > deadline:
            process.kill()
        try:
            line = lines.get(timeout=_SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            # A child that outlives the program may hold the other end of the pipe.
            if process.poll() is not None:
                return deadline is not None
            continue
        if line is None:
            return deadline is not None
        log.hear(line)


class _Log:
    """Passes lines of the log on, and remembers what explains a failure."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._error: dict[str, Any] = {}
        self._others: deque[str] = deque(maxlen=_LINES_TO_SHOW)

    def hear(self, line: str) -> None:
        """Pass one line on."""
        entry = _entry_of(line)
        if entry is None:
            if line.strip():
                self._others.append(line)
                self._listener.note(line)
            return
        message = str(entry.get("message", ""))
        level = entry.get("level")
        if level == "error":
            self._error = entry
        elif level == "warning":
            self._listener.warn(message)
        elif entry.get("total"):
            self._listener.advance(100.0 * entry["done"] / entry["total"], message)
        else:
            self._listener.note(message)

    def failure(self, code: int) -> RunFailedError:
        """Why the program ended with a code."""
        if self._error:
            return RunFailedError(
                str(self._error.get("message", "")), str(self._error.get("hint", "")), code
            )
        said = "\n".join(self._others)
        return RunFailedError(f"hyseg ended with code {code}. {said}".strip(), "", code)


def _entry_of(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is, if it is one."""
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
