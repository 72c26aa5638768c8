"""`python killed_commands.py STEP FOLDER WORD...`: kill `hyseg WORD...` as it changes names.

FOLDER holds its inputs and what its outputs replace. Before every STEPth change the process is
killed, and the same command is run again. Prints the outcomes as JSON: the exit codes, and the
files that are there after each of the two, with their hashes; the last run is not killed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from killing import in_a_process

from hyseg_cli.cli.group import cli
from hyseg_cli.geo import atomic

CHANGES = ("replace", "rename", "unlink")


def command(words: list[str], killed_before: int = 0) -> int:
    """The exit code of a command in a process of its own, -9 if it was killed."""

    def act() -> int:
        atomic._remove_abandoned.cache_clear()  # this is a run of its own
        result = CliRunner().invoke(cli, words)
        if result.exit_code:
            sys.stderr.write(result.output)
            sys.stderr.flush()
        return result.exit_code

    return in_a_process(act, CHANGES, killed_before)


def digest(path: Path) -> str:
    """Of a file's bytes; of a GeoPackage, of its tables, without times and styles."""
    content = path.read_bytes()
    if content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = sorted(name for (name,) in names if name != "layer_styles")
            rows = [database.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables]  # noqa: S608 - its own names
        content = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "", repr((tables, rows))).encode()
    return hashlib.sha256(content).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def main() -> None:
    step, folder, words = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    start = folder.with_name("start")
    shutil.copytree(folder, start)
    # Loads what the children need; the first of them finds the folder as it was.
    if words[0] == "train":
        # A process that has trained has threads that its children would wait for in vain.
        importlib.import_module("hyseg_cli.workflows.train.run")
    else:
        CliRunner().invoke(cli, words)
    outcomes: list[dict[str, Any]] = []
    while not outcomes or outcomes[-1]["killed"] == -signal.SIGKILL:
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        killed = command(words, 1 + step * len(outcomes))
        found = contents(folder)
        mended = command(words) if killed == -signal.SIGKILL else killed
        outcomes.append({"killed": killed, "found": found, "mended": mended})
        outcomes[-1]["left"] = contents(folder)
    print(json.dumps(outcomes))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
