"""`hyseg evaluate` for tests."""

from __future__ import annotations

import json

from click.testing import CliRunner

from hyseg_cli.cli.group import cli

COLORS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]


def run(*arguments):
    return CliRunner().invoke(cli, ["evaluate", *(str(part) for part in arguments)])


def numbers(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def legend_of(names):
    classes = [
        {"id": value, "name": name, "color": COLORS[i]} for i, (name, value) in enumerate(names)
    ]
    return {"classes": classes}
