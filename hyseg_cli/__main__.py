"""The command `hyseg`, and `python -m hyseg_cli`."""

from __future__ import annotations

import warnings

from hyseg_cli.cli.exit import show_warning
from hyseg_cli.cli.group import cli
from hyseg_cli.startup import leaving_fast


def main() -> None:
    """Run the command line."""
    warnings.showwarning = show_warning
    with leaving_fast():
        cli(prog_name="hyseg")


if __name__ == "__main__":
    main()
