"""The command `hyseg`, and `python -m hyseg_cli`."""

import atexit
import gc
import sys

from hyseg_cli.cli import cli


def main() -> None:
    """Run the command line."""
    atexit.register(_rest_at_the_end)
    cli(prog_name="hyseg")


def _rest_at_the_end() -> None:
    """Spare the interpreter its last look for garbage in all that was loaded.

    For a small map that takes a sixth of the time, and nothing that it finds matters any more.
    Only what comes with PyTorch complains of objects that were not collected.
    """
    if "torch" not in sys.modules:
        gc.freeze()


if __name__ == "__main__":
    main()
