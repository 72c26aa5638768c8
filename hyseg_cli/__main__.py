"""`python -m hyseg_cli`."""

from hyseg_cli.cli import cli

cli(prog_name="hyseg")
