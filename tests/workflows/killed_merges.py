"""`python killed_merges.py FOLDER WORD...`: kill the merge of `hyseg WORD...` at every moment.

FOLDER is that of the outputs, with all shards of the run. Before each change of names in turn a
process is killed; the same command without --merge has to mend what it left. Prints the outcomes as
JSON: exit code of the mending, and the files that are there then, with their hashes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from killing import in_a_process

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.tiling import blocks
from hyseg_cli.workflows.predict import run as _  # noqa: F401 - loaded once, before the forks

CHANGES = ("replace", "rename", "unlink", "rmdir", "fsync")


def merge(words: list[str], killed_before: int = 0) -> int:
    """The exit code of a command in a process of its own, -9 if it was killed."""

    def act() -> int:
        try:
            cli.main(words, standalone_mode=True)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return in_a_process(act, CHANGES, killed_before)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.iterdir())
    }


def main() -> None:
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    blocks.BLOCK_PIXELS = 6000
    start = folder.with_name("start")
    shutil.copytree(folder, start)
    outcomes: list[dict[str, Any]] = []
    while True:
        killed = merge([*words, "--merge"], len(outcomes) + 1)
        found = contents(folder)
        mended = merge(words) if killed == -signal.SIGKILL else killed
        outcomes.append({"killed": killed, "found": found, "mended": mended})
        outcomes[-1]["left"] = contents(folder)
        if killed != -signal.SIGKILL:
            break
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
    print(json.dumps(outcomes))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
