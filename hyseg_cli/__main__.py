"""The command `hyseg`, and `python -m hyseg_cli`."""

from __future__ import annotations

import warnings

import click

from hyseg_cli.cli.group import cli
from hyseg_cli.startup import leaving_fast


def show_in_one_line(message: Warning | str, *_: object, **__: object) -> None:
    """Print what a library warns of without the line of code that it comes from."""
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


def main() -> None:
    """Run the command line."""
    warnings.showwarning = show_in_one_line
    with leaving_fast():
        cli(prog_name="hyseg")


if __name__ == "__main__":
    main()
