"""The command `hyseg`, and `python -m hyseg_cli`."""

import atexit
import os
import sys
import threading

from hyseg_cli.cli.group import cli


def main() -> None:
    """Run the command line."""
    try:
        cli(prog_name="hyseg")
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(code: int) -> None:
    """Leave without taking apart, object by object, what was loaded.

    For a small map that takes a twentieth of the time. PyTorch has threads and devices of its own
    to put in order: with it, and while other threads are at work, Python ends as it always does.
    """
    if "torch" in sys.modules or threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - what others have to do at the end comes first
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads any more: Python knows what to do
        return
    os._exit(code)


if __name__ == "__main__":
    main()
