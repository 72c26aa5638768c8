"""The command `hyseg`, and `python -m hyseg_cli`."""

import atexit
import gc

from hyseg_cli.cli import cli


def main() -> None:
    """Run the command line."""
    # At its end the interpreter looks for garbage in all that was loaded: for a small map a sixth
    # of the time, and nothing that it finds matters any more.
    atexit.register(gc.freeze)
    cli(prog_name="hyseg")


if __name__ == "__main__":
    main()
