"""`hyseg info` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hyseg_cli.options import (
    FILE,
    HysegCommand,
    print_result,
)


@click.command(cls=HysegCommand)
@click.argument("model", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def info(*, model: Path | None, as_json: bool) -> None:
    """Tell what MODEL is and what it costs: card, configuration, parameters and operations.

    Without MODEL, the built-in one.
    """
    from hyseg_cli.workflows import info as workflow

    result = workflow.run(model)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
