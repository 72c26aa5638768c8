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
    """Exit without destroying every loaded object one by one.

    For a small map, destroying them takes a twentieth of the time. PyTorch must shut down its own
    threads and devices: if it is loaded, or other threads are active, Python exits as usual.
    """
    if "torch" in sys.modules or threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - what others have to do at the end comes first
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # the pipe is closed: Python handles that
        return
    os._exit(code)


if __name__ == "__main__":
    main()
