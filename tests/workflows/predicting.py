"""`hyseg predict` for tests."""

from __future__ import annotations

from click.testing import CliRunner

from hyseg_cli.cli.group import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])
