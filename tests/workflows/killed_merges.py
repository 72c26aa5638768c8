"""`python killed_merges.py FOLDER WORD...`: kill the merge of `hyseg WORD...` at every moment.

FOLDER is that of the outputs, with all shards of the run. Before each change of names in turn a
process is killed; the same command without --merge has to mend what it left. Prints the outcomes as
JSON: exit code of the mending, and the files that are there then, with their hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.tiling import blocks
from hyseg_cli.workflows.predict import run as _  # noqa: F401 - loaded once, before the forks

CHANGES = ("replace", "rename", "unlink", "rmdir", "fsync")


def in_a_process(words: list[str], killed_before: int = 0) -> int:
    """The exit code of a command in a process of its own, -9 if it was killed."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        left = killed_before

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def act(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return act

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        try:
            cli.main(words, standalone_mode=True)
        except SystemExit as end:
            os._exit(int(end.code or 0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
        killed = in_a_process([*words, "--merge"], len(outcomes) + 1)
        found = contents(folder)
        mended = in_a_process(words) if killed == -signal.SIGKILL else killed
        outcomes.append({"killed": killed, "found": found, "mended": mended})
        outcomes[-1]["left"] = contents(folder)
        if killed != -signal.SIGKILL:
            break
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
    print(json.dumps(outcomes))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
