"""Commands in a process of their own, with little memory and time: whatever comes in, one line.

A forked child starts at once and may be killed by what it reads without taking the tests along.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from hyseg_cli.cli.group import cli

MEMORY = 2_000_000_000
"""Bytes that a command may take beyond what is loaded."""
SECONDS = 60
EXPECTED = (0, 1, 2, 4)
MINUTES = float(os.environ.get("FUZZ_MINUTES", "1"))
SEED = os.environ.get("FUZZ_SEED") or str(time.time_ns())
"""Decides what is tried; printed if a test fails."""
FIGURES = os.environ.get("FUZZ_FIGURES")
"""File that gets a line of JSON for each test: what was tried, and for how long."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    """Exit code; negative for a signal."""
    stdout: str
    stderr: str

    @property
    def problem(self) -> str | None:
        """What is wrong with it, whatever its input was."""
        if self.code not in EXPECTED:
            return f"it ended with {self.code}"
        if "Error: unexpected" in self.stderr or "Traceback" in self.stderr:
            return "an error was not expected"
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        if (self.code != 0) != (len(errors) == 1):
            return f"{len(errors)} errors and exit code {self.code}"
        return None


def warm_up(*commands: tuple[object, ...]) -> None:
    """Run sound commands in this process, whose children then have all modules and loops loaded.

    None that starts threads of GDAL, which a child would wait for in vain.
    """
    for words in commands:
        result = CliRunner().invoke(cli, [str(word) for word in words])
        assert result.exit_code == 0, result.output


def run(*words: object) -> Outcome:
    """Run a command in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _serve([str(word) for word in words], write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        told = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not told:
        return Outcome(-os.WTERMSIG(status), "", "")
    return Outcome(**json.loads(told))


def _serve(words: list[str], answer: int) -> None:
    code = 99
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        signal.alarm(SECONDS)
        result = CliRunner().invoke(cli, words)
        told = {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            told["stderr"] += f"Error: unexpected {result.exception!r}"
        with os.fdopen(answer, "wb") as stream:
            stream.write(json.dumps(told).encode())
        code = 0
    finally:
        os._exit(code)


def require_sound(folder: Path, before: set[Path], outcome: Outcome, *outs: Path) -> None:
    """Fail if a command ended in a way that it must not, or left something behind.

    Args:
        folder: Where it could write.
        before: What was there.
        outcome: How it ended.
        outs: What it may have written, if it ended well.
    """
    assert outcome.problem is None, f"{outcome.problem}: {outcome.stderr}"
    made = set(folder.iterdir()) - before
    if outcome.code == 0:
        stems = {out.name.partition(".")[0] for out in outs}
        made = {path for path in made if path.name.partition(".")[0] not in stems}
    assert not made, f"left behind: {made}"


def write_legend(folder: Path) -> Path:
    """A legend of classes that are called 0 to 3 and have these ids."""
    classes = [{"id": i, "name": str(i), "color": f"#{i}{i}{i}{i}{i}{i}"} for i in range(4)]
    path = folder / "legend.json"
    path.write_text(json.dumps({"classes": classes}), encoding="utf-8")
    return path


@contextmanager
def counted(name: str) -> Iterator[Callable[[], bool]]:
    """A test that goes on until its time is over.

    Yields:
        What counts an input, and says whether there is time for another.
    """
    print(f"FUZZ_SEED={SEED}")  # noqa: T201 - shown if the test fails
    end, tried = time.monotonic() + 60 * MINUTES, 0

    def go_on() -> bool:
        nonlocal tried
        tried += 1
        return time.monotonic() < end

    began = time.monotonic()
    try:
        yield go_on
    finally:
        if FIGURES is not None:
            line = {
                "test": name,
                "seed": SEED,
                "inputs": tried,
                "seconds": round(time.monotonic() - began),
            }
            with Path(FIGURES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
